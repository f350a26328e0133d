from dataclasses import replace

import plan
import pytest

from deepal_autoal import InputError


def test_all_contenders_can_be_created():
    contenders = plan.contenders(plan.GROUPS)
    assert len(contenders) > 40
    for contender in contenders:
        if not contender.is_oracle:
            contender.create()
    assert [contender.label for contender in contenders if contender.is_oracle] == [plan.ORACLE]


def test_a_label_means_one_contender():
    found = {}
    for group in plan.GROUPS.values():
        for contender in group:
            assert found.setdefault(contender.label, contender) == contender
    kinds = [plan.described(c.create()) for c in plan.contenders(plan.GROUPS) if not c.is_oracle]
    assert all(kinds.count(kind) == 1 for kind in kinds), "done twice under two labels"


def test_every_group_can_be_compared_with_ours():
    for name, group in plan.GROUPS.items():
        assert plan.ours_of(name) in [contender.label for contender in group]


def test_default_values_are_left_out(monkeypatch):
    default = plan.AUTOAL.create().describe_options()["steps"]
    group = (plan.Contender("a", plan.OURS, plan.SEVEN, {**plan.DIVERSE, "steps": default}),
             plan.Contender("b", plan.OURS, plan.SEVEN, {**plan.DIVERSE, "steps": default + 1}))  # fmt: skip
    monkeypatch.setitem(plan.GROUPS, "toy", group)
    assert [contender.label for contender in plan.contenders(["toy"])] == [plan.OURS, "b"]


def test_without_a_backbone_networks_on_inputs_are_left_out():
    with_one = {contender.label for contender in plan.contenders(["figure3"])}
    without = {contender.label for contender in plan.contenders(["figure3"], has_backbone=False)}
    assert without < with_one and all("networks=backbones" in label for label in with_one - without)


def test_unknown_group():
    with pytest.raises(InputError, match="choose from core"):
        plan.contenders(["man"])


def test_keys_change_with_settings_that_matter():
    setting = plan.SETTINGS["mnist-low"]
    key = plan.key_of(setting, plan.VOTE, "a.npz")
    assert key == plan.key_of(replace(setting), replace(plan.VOTE, label="other"), "a.npz")
    assert key == plan.key_of(
        setting, replace(plan.VOTE, options={"oversample": None, **plan.DIVERSE}), "a.npz"
    )  # a default
    others = [
        plan.key_of(replace(setting, rounds=9), plan.VOTE, "a.npz"),
        plan.key_of(setting, replace(plan.VOTE, options={"final": "top"}), "a.npz"),
        plan.key_of(setting, replace(plan.VOTE, candidates=plan.SEVEN[:2]), "a.npz"),
        plan.key_of(setting, plan.VOTE, "b.npz"),
    ]
    assert len({key, *others}) == 5


def test_settings_use_all_groups():
    assert {group for setting in plan.SETTINGS.values() for group in setting.groups} == set(plan.GROUPS)


def test_budgets_fit_their_pools():
    for setting in plan.SETTINGS.values():
        if setting.pool_size is not None:
            assert setting.initial + setting.rounds * setting.batch_size <= setting.pool_size / 2
