"""Kernel herding passes the conformance kit: alone, with its options, and as a selector's candidate."""

from deepal_autoal.testing import conformance_test

test_kernel_herding = conformance_test("kernel-herding")
test_kernel_herding_on_inputs = conformance_test("kernel-herding", features="inputs", labeled_weight=0.5)
test_vote_over_kernel_herding = conformance_test("vote", candidates=["kernel-herding", "margin"])
# Fewer steps of its networks: what is checked does not depend on how long they train.
test_autoal_over_kernel_herding = conformance_test(
    "autoal", candidates=["kernel-herding", "margin"], steps=20, warmup_steps=5
)
