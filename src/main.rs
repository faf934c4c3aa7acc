//! The `halab` program.

fn main() {}
