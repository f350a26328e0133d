"""The studies of the audit: a project of each, on digits."""


def test_a_project_of_each_study(audit_study):
    coverage, before_training = audit_study.coverage, audit_study.before_training
    _, x, y = next(coverage.datasets())
    checks = list(coverage.project(x, y, "margin", 0))
    assert [one.n_labels for one in checks] == [90, 150, 250] and checks[-1].on_test > 0.8
    checks = list(before_training.project(x, y, "margin", 0.3, 0))
    assert [one.n_labels for one in checks] == [150, 250]
    assert all(0 <= one.accuracy.low <= one.accuracy.estimate <= one.accuracy.high <= 1 for one in checks)
    found = before_training.row("digits", "margin", 0.3, checks[:1])
    assert found["accuracy_coverage"] in (0.0, 1.0) and found["projects"] == 1
