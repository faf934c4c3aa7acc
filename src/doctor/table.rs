//! A [`DoctorReport`] as text: one line per finding, and a remedy where one is needed.

use crate::capacity::{Finding, FindingSeverity};

use super::DoctorReport;

/// The findings by place, and their number by severity.
pub fn render(report: &DoctorReport) -> String {
    let mut out = String::new();
    let mut place = None;
    for finding in &report.findings {
        if place != Some(&finding.place) {
            out.push_str(&finding.place);
            out.push('\n');
            place = Some(&finding.place);
        }
        out.push_str(&lines(finding));
    }
    let counts = [
        (FindingSeverity::Short, "short"),
        (FindingSeverity::Warning, "warnings"),
        (FindingSeverity::NotKnown, "not known"),
        (FindingSeverity::Ok, "ok"),
    ]
    .map(|(severity, name)| format!("{} {name}", report.count(severity)));
    format!("{out}{}: {}", report.lab, counts.join(", "))
}

fn lines(finding: &Finding) -> String {
    let severity = match finding.severity {
        FindingSeverity::Ok => "ok",
        FindingSeverity::NotKnown => "not known",
        FindingSeverity::Warning => "WARNING",
        FindingSeverity::Short => "SHORT",
    };
    let values = match (finding.measured, finding.needed) {
        (Some(measured), Some(needed)) => {
            format!(": {} ({})", measured.shown(), needed.shown())
        }
        _ => String::new(),
    };
    let mut lines = format!(
        "  {severity:<9}  {:<22}  {}{values}\n",
        finding.code, finding.what
    );
    if let Some(remedy) = &finding.remedy {
        lines.push_str(&format!("             reason: {}\n", finding.why));
        lines.push_str(&format!("             remedy: {remedy}\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Unit;

    #[test]
    fn only_findings_to_fix_have_a_reason_and_a_remedy() {
        let fine = Finding::new("open-files", "host", "open files of a process started here")
            .values(Unit::Descriptors, 20_000, 10_032)
            .judged(FindingSeverity::Ok, "each client is one", "ulimit".into());
        let short = Finding::new(
            "rewrite-space",
            "redis-a",
            "free disk space for an append-only file of 1 GiB",
        )
        .values(Unit::Bytes, 1 << 20, 1 << 30)
        .judged(
            FindingSeverity::Short,
            "a rewrite needs it",
            "free 1023 MiB".into(),
        );
        let unknown = Finding::not_known("clock", "redis-a", "the server does not state its time");
        let report = DoctorReport {
            lab: "l".into(),
            enough: false,
            findings: vec![fine, short, unknown],
        };
        insta::assert_snapshot!(render(&report), @"
        host
          ok         open-files              open files of a process started here: 20000 descriptors (10032 descriptors)
        redis-a
          SHORT      rewrite-space           free disk space for an append-only file of 1 GiB: 1 MiB (1 GiB)
                     reason: a rewrite needs it
                     remedy: free 1023 MiB
          not known  clock                   the server does not state its time
        l: 1 short, 0 warnings, 1 not known, 1 ok
        ");
    }
}
