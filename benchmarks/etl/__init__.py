"""Speed and memory of the ETL: `make bench-etl`; see `benchmarks.etl.__main__`."""
