//! What is refused, and does the error help to repair the file?

mod common;

use common::{gz, log, log_line, problem, reading, reading_as, seconds};
use sphere_trace::{Format, LineProblem, MAX_LINE_BYTES, ReadOptions, TraceError, read, read_file};
use std::path::Path;

const CSV: &str = "timestamp_s,count\n";

#[test]
fn a_missing_file_and_a_directory_are_named() {
    let missing = read_file(Path::new("no/such/file.csv"), &ReadOptions::default()).unwrap_err();
    assert!(matches!(missing, TraceError::NotFound { .. }));
    assert_eq!(missing.to_string(), "no/such/file.csv: no such file");
    let folder = tempfile::tempdir().unwrap();
    let directory = read_file(folder.path(), &ReadOptions::default()).unwrap_err();
    assert!(matches!(directory, TraceError::IsDirectory { .. }));
}

#[test]
fn an_empty_file_is_refused_in_every_format_plain_or_gzip() {
    for format in [Format::Auto, Format::Counts, Format::Csv, Format::Clf] {
        for bytes in [Vec::new(), gz(""), "\u{feff}".into()] {
            assert!(matches!(reading_as(format, bytes), Err(TraceError::Empty { .. })), "{format}");
        }
    }
    assert!(matches!(reading("\n\n"), Err(TraceError::Empty { .. })));
}

#[test]
fn a_header_without_two_rows_has_no_step() {
    assert!(matches!(reading(CSV), Err(TraceError::TooFewRows { rows: 0, .. })));
    assert!(matches!(reading(format!("{CSV}0,1\n")), Err(TraceError::TooFewRows { rows: 1, .. })));
}

#[test]
fn unknown_columns_are_refused() {
    for header in
        ["time,count", "timestamp_s,requests", "timestamp_s,count,extra", "0,1", "count,timestamp_s"]
    {
        assert_eq!(problem(format!("{header}\n0,1\n")), (1, LineProblem::UnknownColumns), "{header}");
    }
}

#[test]
fn text_where_a_number_belongs_is_refused_with_file_line_value_and_what_is_accepted() {
    let error = reading(format!("{CSV}0,1\n10,many\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test, line 3: \"many\": not a number; a finite number of at least 0 is expected"
    );
    assert_eq!(problem(format!("{CSV}0,1\nsoon,2\n")), (3, LineProblem::NotANumber));
    assert_eq!(problem(format!("{CSV}0,\n")), (2, LineProblem::NotANumber));
    assert_eq!(problem("1\n2\nthree\n"), (3, LineProblem::NotANumber));
}

#[test]
fn a_comment_is_not_a_number() {
    assert_eq!(problem("1\n# two\n"), (2, LineProblem::NotANumber));
    assert!(matches!(reading("# counts\n1\n"), Err(TraceError::UnknownFormat { line: 1, .. })));
}

#[test]
fn nan_and_infinity_are_refused() {
    for value in ["NaN", "nan", "inf", "-inf", "infinity", "1e999"] {
        assert_eq!(problem(format!("1\n{value}\n")), (2, LineProblem::NotFinite), "{value}");
        assert_eq!(problem(format!("{CSV}0,{value}\n")), (2, LineProblem::NotFinite), "{value}");
        assert_eq!(problem(format!("{CSV}{value},1\n")), (2, LineProblem::NotFinite), "{value}");
    }
    assert_eq!(problem("nan\n"), (1, LineProblem::NotFinite));
}

#[test]
fn a_negative_count_is_refused() {
    assert_eq!(problem("1\n-1\n"), (2, LineProblem::Negative));
    assert_eq!(problem(format!("{CSV}0,-0.5\n")), (2, LineProblem::Negative));
    assert_eq!(problem(format!("{CSV}-10,1\n")), (2, LineProblem::Negative));
}

#[test]
fn a_number_no_demand_can_have_is_refused() {
    assert_eq!(problem("1\n1e300\n"), (2, LineProblem::TooLarge));
}

#[test]
fn unsorted_and_duplicate_times_are_refused() {
    assert_eq!(problem(format!("{CSV}0,1\n10,1\n5,1\n")), (4, LineProblem::UnsortedTime));
    assert_eq!(problem(format!("{CSV}0,1\n10,1\n10,1\n")), (4, LineProblem::DuplicateTime));
}

#[test]
fn an_uneven_step_is_refused_at_its_line() {
    let uneven = format!("{CSV}0,1\n10,1\n20,1\n27,1\n37,1\n");
    assert_eq!(problem(uneven), (5, LineProblem::UnevenStep { found_ms: 7000, step_ms: 10_000 }));
    let stray = format!("{CSV}0,1\n10,1\n20,1\n25,1\n30,1\n40,1\n");
    assert_eq!(
        problem(stray),
        (5, LineProblem::UnevenStep { found_ms: 5000, step_ms: 10_000 }),
        "a stray row must not halve the step"
    );
}

#[test]
fn times_in_milliseconds_and_finer_than_those_are_refused() {
    assert_eq!(problem(format!("{CSV}1500000000000,1\n")), (2, LineProblem::TimeTooLarge));
    assert_eq!(problem(format!("{CSV}0.0005,1\n")), (2, LineProblem::TimeTooFine));
}

#[test]
fn rows_without_two_columns_are_refused() {
    assert_eq!(problem(format!("{CSV}0\n")), (2, LineProblem::ColumnCount { columns: 1 }));
    assert_eq!(problem(format!("{CSV}0,1,2\n")), (2, LineProblem::ColumnCount { columns: 3 }));
    assert_eq!(problem(format!("{CSV}0;1\n")), (2, LineProblem::ColumnCount { columns: 1 }));
}

#[test]
fn a_blank_line_in_the_middle_is_refused_but_may_end_the_file() {
    assert_eq!(problem("1\n\n2\n"), (2, LineProblem::Blank));
    assert_eq!(problem(format!("{CSV}0,1\n\n10,2\n")), (3, LineProblem::Blank));
    assert!(reading("1\n2\n\n \n").is_ok());
    assert!(reading(format!("{CSV}0,1\n10,2\n\n")).is_ok());
}

#[test]
fn a_far_time_does_not_fill_memory_with_missing_bins() {
    let error = reading(format!("{CSV}0,1\n0.001,1\n0.002,1\n90000000,1\n")).unwrap_err();
    assert!(matches!(error, TraceError::TooManyBins { line: 5, .. }));
}

#[test]
fn a_gzip_file_cut_anywhere_is_refused() {
    let whole = gz(log((0..300).map(|i| i * 3)));
    for length in 2..whole.len() {
        let error = reading(&whole[..length]).unwrap_err();
        assert!(matches!(error, TraceError::TruncatedGzip { .. }), "{length}: {error:?}");
    }
    let second_member_cut = [whole.as_slice(), &whole[..whole.len() - 5]].concat();
    assert!(matches!(reading(second_member_cut), Err(TraceError::TruncatedGzip { .. })));
}

#[test]
fn a_damaged_gzip_file_is_refused() {
    let mut damaged = gz(log((0..3000).map(|i| i * 3)));
    let middle = damaged.len() / 2;
    damaged[middle..middle + 40].fill(0xff);
    let error = reading(&damaged).unwrap_err();
    assert!(matches!(error, TraceError::CorruptGzip { .. }), "{error:?}");
}

#[test]
fn a_line_of_a_million_columns_is_refused() {
    let wide = format!("{CSV}{}\n", "1,".repeat(1_000_000));
    for format in [Format::Auto, Format::Csv, Format::Counts, Format::Clf] {
        assert!(matches!(
            reading_as(format, wide.strip_prefix(CSV).unwrap()),
            Err(TraceError::LineTooLong { line: 1, .. })
        ));
    }
    let error = reading(&wide).unwrap_err();
    assert!(matches!(error, TraceError::LineTooLong { line: 2, .. }));
    assert!(error.to_string().contains(&MAX_LINE_BYTES.to_string()));
}

#[test]
fn binary_garbage_is_called_binary() {
    let mut state = 1u32;
    let mut garbage = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let bytes: Vec<u8> = (0..5000).map(|_| garbage()).collect();
    assert!(matches!(reading(&bytes), Err(TraceError::Binary { .. })));
    assert!(matches!(reading(gz(&bytes)), Err(TraceError::Binary { .. })));
    assert!(matches!(reading(b"PK\x03\x04\x14\0\0\0"), Err(TraceError::Binary { .. })));
    for format in [Format::Counts, Format::Csv] {
        assert!(matches!(reading_as(format, &bytes), Err(TraceError::BadLine { line: 1, .. })));
    }
    assert!(matches!(reading_as(Format::Clf, &bytes), Err(TraceError::TooManySkipped { .. })));
}

#[test]
fn an_error_quotes_little_of_a_long_line() {
    let error = reading(format!("1\n{}\n", "x".repeat(60_000))).unwrap_err();
    assert!(error.to_string().len() < 250, "{error}");
}

#[test]
fn a_log_with_more_damage_than_real_ones_is_refused() {
    let good = |lines: u64| log(0..lines);
    let bad = |lines: usize| "damaged\n".repeat(lines);
    assert!(reading([good(95), bad(5)].concat()).is_ok(), "5 % is accepted");
    let error = reading([good(94), bad(6)].concat()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test: 6 of 100 lines are not usable, the first is line 95 (\"damaged\": no access log line; `host \
         ident user [01/Jul/1995:00:00:01 -0400] \"request\" …` is expected)"
    );
    assert!(reading([good(1), bad(98)].concat()).is_ok(), "a short log may be bad");
    assert!(matches!(reading_as(Format::Clf, bad(3)), Err(TraceError::TooManySkipped { skipped: 3, .. })));
}

#[test]
fn rotated_logs_joined_in_the_wrong_order_are_refused() {
    let joined = log((86_400..86_500).chain(0..100));
    let error = reading(joined).unwrap_err();
    assert!(matches!(
        error,
        TraceError::TooManySkipped { skipped: 100, first_line: 101, problem: LineProblem::TooOld { .. }, .. }
    ));
}

#[test]
fn an_unusable_bin_width_is_refused() {
    let with_bin =
        |bin, text: &str| read(text.as_bytes(), "test", &ReadOptions { bin, ..Default::default() });
    for bin in [seconds(0), seconds(1) / 2, seconds(100_000)] {
        assert!(matches!(with_bin(bin, &log_line(1)), Err(TraceError::BadBin { .. })), "{bin:?}");
    }
    for bin in [seconds(0), seconds(1) / 3, seconds(100_000)] {
        assert!(matches!(with_bin(bin, "1\n"), Err(TraceError::BadBin { .. })), "{bin:?}");
    }
    assert!(with_bin(seconds(1) / 2, "1\n").is_ok());
}
