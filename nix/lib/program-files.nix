# What is compiled into the program, or read by its unit tests. tests.nix beside this file holds it to the code.
[
  "Cargo.toml"
  "Cargo.lock"
  "clippy.toml"
  "rustfmt.toml"
  "src"
  "lab.toml"
  "redis"
  "sentinel"
  "prometheus"
  "grafana"
  "docs/configuration.md"
  "docs/ledger.md"
  "docs/metrics.md"
  "docs/operations/capacity.md"
  "docs/security.md"
]
