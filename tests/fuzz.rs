//! The targets of `fuzz/` without its tool: each file of the corpora as it is, and mutated at
//! random.
//!
//! `HALAB_FUZZ_FOR=10m HALAB_FUZZ_TARGET=ledger cargo test --release --test fuzz -- --ignored` goes
//! on for that long; `./lab fuzz` is that, where cargo-fuzz and a nightly toolchain are not at
//! hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redis_ha_lab::fuzz::{FuzzTarget, TARGETS};

/// What goes beyond it is cut off.
const LONGEST: usize = 16 * 1024;

fn corpus(target: &FuzzTarget) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(seeds.len() >= 2, "{} is empty", folder.display());
    seeds
}

fn run(target: &FuzzTarget, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let path = std::env::temp_dir().join(format!("halab-fuzz-{}.found", target.name));
        fs::write(&path, input).unwrap();
        panic!(
            "{}: found one, kept as {}; into fuzz/corpus/{0} with it, then fix it",
            target.name,
            path.display()
        );
    }
}

#[test]
fn every_file_of_the_corpora_is_borne() {
    for target in &TARGETS {
        for seed in corpus(target) {
            run(target, &seed);
        }
    }
}

#[test]
fn mutations_of_the_corpora_are_borne() {
    for target in &TARGETS {
        let seeds = corpus(target);
        let mut rng = StdRng::seed_from_u64(0x5eed);
        for _ in 0..2000 {
            run(target, &mutated(&seeds, &mut rng));
        }
    }
}

#[test]
#[ignore = "takes as long as it is told; ./lab fuzz runs it"]
fn mutations_for_a_time() {
    let time = std::env::var("HALAB_FUZZ_FOR").unwrap_or_else(|_| "60".into());
    let time = Duration::from_secs(time.trim_end_matches('s').parse().unwrap());
    let wanted = std::env::var("HALAB_FUZZ_TARGET").unwrap_or_default();
    let mut ran = 0;
    for target in TARGETS
        .iter()
        .filter(|t| wanted.is_empty() || t.name == wanted)
    {
        let seeds = corpus(target);
        let mut rng: StdRng = rand::make_rng();
        let (begun, mut inputs) = (Instant::now(), 0_u64);
        while begun.elapsed() < time {
            run(target, &mutated(&seeds, &mut rng));
            inputs += 1;
        }
        eprintln!("{}: {inputs} inputs in {time:?}, no find", target.name);
        ran += 1;
    }
    assert!(ran > 0, "no target {wanted}");
}

/// One of the corpus with some bytes changed, left out, doubled, put in, or taken from another.
fn mutated(seeds: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut input = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..8) {
        let at = rng.random_range(0..=input.len());
        let end = (at + rng.random_range(0..16)).min(input.len());
        match rng.random_range(0..6) {
            0 if at < input.len() => input[at] = rng.random(),
            1 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = &seeds[rng.random_range(0..seeds.len())];
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..64)).min(other.len());
                input.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                let numbers: [&[u8]; 6] = [
                    b"-1",
                    b"0",
                    b"18446744073709551615",
                    b"9223372036854775808",
                    b"99999999",
                    b"\xff\xff\xff\xff\x0f",
                ];
                input.splice(at..end, numbers[rng.random_range(0..6)].iter().copied());
            }
        }
    }
    input.truncate(LONGEST);
    input
}
