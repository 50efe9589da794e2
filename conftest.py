"""``pytest`` runs the tests and no benchmark; ``pytest --benchmark-only`` runs the benchmarks and no test."""


def pytest_ignore_collect(collection_path, config):
    only = config.getoption("benchmark_only", False)
    inside = collection_path.is_relative_to(config.rootpath)
    parts = collection_path.relative_to(config.rootpath).parts if inside else ()
    if parts and parts[0] == ("tests" if only else "benchmarks"):
        return True
    return None
