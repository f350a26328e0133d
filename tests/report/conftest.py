"""One made-up study for all tests of the report."""

import pytest
from made_up_studies import GAINS, write_study


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    """Five strategies on two datasets with five seeds; one has a name that HTML would read."""
    return write_study(tmp_path_factory.mktemp("study") / "study", GAINS)
