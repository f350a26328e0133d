from .runner import BenchmarkResult as BenchmarkResult
from .runner import run_benchmark as run_benchmark
