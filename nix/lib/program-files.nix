# The files compiled into the program or read by its unit tests; tests.nix compares the list with
# the code.
[
  "Cargo.toml"
  "Cargo.lock"
  "clippy.toml"
  "rustfmt.toml"
  "src"
  "lab.toml"
  "lab.schema.json"
  "redis"
  "sentinel"
  "prometheus"
  "grafana"
  "docs/configuration.md"
  "docs/ledger.md"
  "docs/metrics.md"
  "docs/operations/capacity.md"
  "docs/runbook.md"
  "docs/security.md"
]
