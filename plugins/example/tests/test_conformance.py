"""TypiClust passes the conformance kit: alone, with its options, and as a selector's candidate."""

from deepal_autoal.testing import conformance_test

test_typiclust = conformance_test("typiclust")
test_typiclust_on_embeddings = conformance_test("typiclust", features="embeddings", neighbors=3, max_clusters=4)
test_vote_over_typiclust = conformance_test("vote", candidates=["typiclust", "margin"])
# Fewer steps of its networks: what is checked does not depend on how long they train.
test_autoal_over_typiclust = conformance_test("autoal", candidates=["typiclust", "margin"], steps=20, warmup_steps=5)
