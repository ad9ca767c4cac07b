"""What every test can rely on: the rules, and the fixtures of the harness."""

pytest_plugins = ("pytester", "harness.rules")
