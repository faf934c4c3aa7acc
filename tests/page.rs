//! The page of `halab drill --html` as a browser draws it: bars, events and labels are there, by
//! day, by night, and on a phone. Needs Chromium, so it runs in `./lab test` alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "all of this file is a test; clippy exempts only the functions marked as one"
)]

use std::fs::{self, File};
use std::io::BufReader;
use std::process::{Command, Stdio};

use redis_ha_lab::drill::report::html;

const SAMPLE: &str = include_str!("../src/drill/report/html/sample.json");

/// A picture, three bytes a pixel.
struct Picture(Vec<u8>);

impl Picture {
    /// Pixels of that colour, give or take what smoothing does.
    fn count(&self, colour: [u8; 3]) -> usize {
        let near = |pixel: &[u8]| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 6);
        self.0.chunks_exact(3).filter(|pixel| near(pixel)).count()
    }

    fn pixels(&self) -> usize {
        self.0.len() / 3
    }
}

/// The page in a window of that size; `scheme` is Chromium's number for dark (0) or light (1).
fn screenshot(size: (u32, u32), scheme: u8) -> Picture {
    let folder = tempfile::tempdir().unwrap();
    let report = serde_json::from_str(SAMPLE).unwrap();
    let page = folder.path().join("page.html");
    fs::write(&page, html::page(&report)).unwrap();
    let shot = folder.path().join("page.png");
    let drawn = Command::new("chromium")
        // As root its own sandbox can't be had; the page is ours.
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("--screenshot={}", shot.display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .arg(format!("file://{}", page.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("chromium");
    assert!(drawn.success());
    let decoder = png::Decoder::new(BufReader::new(File::open(shot).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let samples = info.color_type.samples();
    let pixels = bytes[..info.buffer_size()].chunks_exact(samples);
    Picture(pixels.flat_map(|pixel| pixel[..3].to_vec()).collect())
}

#[test]
#[ignore = "needs Chromium; ./lab test runs it"]
fn bars_events_and_labels_are_on_the_page_by_day_and_by_night() {
    let day = screenshot((1200, 1400), 1);
    let night = screenshot((1200, 1400), 0);
    for (what, least, by_day, by_night) in [
        ("paper", 500_000, [0xff; 3], [0x12, 0x16, 0x1c]),
        ("bars", 3000, [0x5b, 0x8d, 0xef], [0x79, 0xa6, 0xff]),
        ("the fault", 100, [0xc6, 0x28, 0x28], [0xff, 0x7b, 0x72]),
        (
            "Sentinel's events",
            200,
            [0x7b, 0x3f, 0xb5],
            [0xc7, 0x9b, 0xff],
        ),
        ("labels", 1500, [0x1c, 0x24, 0x30], [0xe6, 0xea, 0xf0]),
    ] {
        for (name, picture, colour) in [("day", &day, by_day), ("night", &night, by_night)] {
            let count = picture.count(colour);
            assert!(count >= least, "{what} by {name}: {count} pixels");
        }
    }
}

#[test]
#[ignore = "needs Chromium; ./lab test runs it"]
fn on_a_phone_the_page_is_as_wide_as_the_screen() {
    // Chromium's narrowest window has 500 pixels. Text that ran out of it would leave paper.
    let phone = screenshot((500, 900), 1);
    assert_eq!(phone.pixels(), 500 * 900);
    let ink = phone.count([0x1c, 0x24, 0x30]);
    assert!(ink >= 1000, "{ink} pixels of text");
    // What happened is a list there, with the colour of the Sentinels beside what they said; the
    // bars are above it.
    let phone = screenshot((500, 1900), 1);
    for (what, least, colour) in [
        ("bars", 500, [0x5b, 0x8d, 0xef]),
        ("time until a failover", 800, [0xc2, 0x41, 0x0c]),
        ("Sentinel's events", 600, [0x7b, 0x3f, 0xb5]),
    ] {
        let count = phone.count(colour);
        assert!(count >= least, "{what}: {count} pixels");
    }
}
