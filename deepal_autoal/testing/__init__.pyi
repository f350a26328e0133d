from .pytest_items import conformance_test as conformance_test
from .report import Report as Report
from .report import Result as Result
from .run import check_strategy as check_strategy
