//! Generated files, and generated parts of documents: compared with what the program generates, or
//! with `GENERATE` set written. `./lab generate` runs the tests whose names begin with
//! `generated_`.

#![allow(dead_code, reason = "each user needs only a part of it")]

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Holds a whole file.
pub fn file(name: &str, wanted: &str) {
    replace(name, |_| wanted.to_owned());
}

/// Holds the part of a document between two marks `<!-- mark -->`.
pub fn part(document: &str, mark: &str, wanted: &str) {
    let mark = format!("<!-- {mark} -->\n");
    replace(document, |text| {
        let parts: Vec<&str> = text.split(&mark).collect();
        let [before, _, after] = parts[..] else {
            panic!("{document}: {mark:?} is not there twice");
        };
        [before, &mark, wanted, &mark, after].concat()
    });
}

/// Holds the end of a document, from a line `<!-- mark -->` on.
pub fn end(document: &str, mark: &str, wanted: &str) {
    let mark = format!("<!-- {mark} -->\n");
    replace(document, |text| {
        let Some((before, _)) = text.split_once(&mark) else {
            panic!("{document}: {mark:?} is not there");
        };
        [before, &mark, wanted].concat()
    });
}

fn replace(name: &str, change: impl FnOnce(&str) -> String) {
    // Tests run at the same time, and several write into one document.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).unwrap();
    let wanted = change(&text);
    if text == wanted {
        return;
    }
    if std::env::var_os("GENERATE").is_some() {
        fs::write(path, wanted).unwrap();
        return;
    }
    let mut lines = text.lines().zip(wanted.lines()).zip(1..);
    let first = lines.find(|((now, then), _)| now != then);
    let first = first.map_or_else(
        || "one is longer than the other".to_owned(),
        |((now, then), number)| format!("line {number} is\n  {now}\nand has to be\n  {then}"),
    );
    panic!("{name} is not what the program generates (./lab generate writes it): {first}");
}
