//! The form of keys and values, and that other keys and values are rejected.

use proptest::prelude::*;

use super::*;

const RUN: RunId = RunId::new(0x00c0_ffee_00c0_ffee);

fn noon() -> Timestamp {
    Timestamp::from_micros(1_772_366_400_000_000).unwrap()
}

#[test]
fn key_and_value_have_their_documented_form() {
    let batch = Batch::new(RUN, noon());
    let (mut key, mut value) = (Vec::new(), Vec::new());
    batch.push_key(42, &mut key);
    batch.push_value(42, &mut value);
    assert_eq!(String::from_utf8(key).unwrap(), "halab:00c0ffee00c0ffee:42");
    assert_eq!(
        String::from_utf8(value).unwrap(),
        format!("2026-03-01T12:00:00.000000Z {}", random_number(RUN, 42))
    );
}

#[test]
fn generator_gives_the_published_splitmix64_outputs() {
    let first: Vec<u64> = (0..5).map(|index| splitmix64(1_234_567, index)).collect();
    let published = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    assert_eq!(first, published);
}

#[test]
fn a_run_has_exactly_one_text() {
    assert_eq!("00c0ffee00c0ffee".parse(), Ok(RUN));
    for text in [
        "",
        "c0ffee",
        "00C0FFEE00C0FFEE",
        "+0c0ffee00c0ffee",
        "00c0ffee00c0ffee0",
    ] {
        assert_eq!(
            text.parse::<RunId>(),
            Err(ParseRunError::NotARun(text.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn foreign_keys_are_not_ours() {
    for key in [
        "",
        "halab:",
        "halab:00c0ffee00c0ffee",
        "halab:00c0ffee00c0ffee:",
    ] {
        assert_eq!(parse_key(key.as_bytes()), None, "{key}");
    }
    for seq in ["01", "-1", "+1", "1 ", "18446744073709551616", "x"] {
        let key = format!("halab:00c0ffee00c0ffee:{seq}");
        assert_eq!(parse_key(key.as_bytes()), None, "{key}");
    }
}

#[test]
fn the_first_and_the_last_time_are_written_in_27_bytes() {
    assert_eq!(
        Timestamp::default().to_string(),
        "1970-01-01T00:00:00.000000Z"
    );
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
    assert_eq!(Timestamp::from_micros(Timestamp::MAX.micros() + 1), None);
}

proptest! {
    #[test]
    fn chunks_are_the_same_numbers(start in 0..1000_u64, count in 0..1000_u64, length in 1..300_u64) {
        let range = SeqRange::new(start, start + count);
        let chunks: Vec<_> = range.chunks(length).collect();
        prop_assert!(chunks.iter().flat_map(|c| c.iter()).eq(range.iter()));
        prop_assert!(chunks.iter().all(|c| !c.is_empty() && c.len() <= length));
        prop_assert_eq!(chunks.len() as u64, count.div_ceil(length));
    }

    #[test]
    fn key_round_trips(run: u64, seq: u64) {
        let mut key = Vec::new();
        Batch::new(RunId::new(run), noon()).push_key(seq, &mut key);
        prop_assert_eq!(key.len(), Batch::key_len(seq));
        prop_assert_eq!(parse_key(&key), Some((RunId::new(run), seq)));
    }

    #[test]
    fn another_time_gives_the_same_as_a_new_batch(
        first in 0..=Timestamp::MAX.micros(), later in prop_oneof![0..3_000_000_u64, any::<u64>()]
    ) {
        let later = first.saturating_add(later).min(Timestamp::MAX.micros());
        let [first, later] = [first, later].map(|us| Timestamp::from_micros(us).unwrap());
        let mut batch = Batch::new(RUN, first);
        batch.at(later);
        prop_assert_eq!(batch, Batch::new(RUN, later));
    }

    #[test]
    fn run_round_trips(run: u64) {
        prop_assert_eq!(RunId::new(run).to_string().parse(), Ok(RunId::new(run)));
    }

    #[test]
    fn value_matches_only_its_own_record(
        run: u64, seq: u64, micros in 0..=Timestamp::MAX.micros(), flip in 0..VALUE_LEN
    ) {
        let created = Timestamp::from_micros(micros).unwrap();
        let batch = Batch::new(RunId::new(run), created);
        let mut value = batch.value(seq);
        prop_assert!(batch.value_matches(seq, &value));
        prop_assert!(!batch.value_matches(seq.wrapping_add(1), &value));
        value[flip] ^= 1;
        prop_assert!(!batch.value_matches(seq, &value));
    }
}
