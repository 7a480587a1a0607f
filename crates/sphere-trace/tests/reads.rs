//! What is read, in each format and wrapping?

mod common;

use common::{gz, log, log_line, reading, reading_as, seconds, values};
use proptest::prelude::*;
use sphere_core::Timestamp;
use sphere_trace::{Format, Kind, LineProblem, ReadOptions, read};

#[test]
fn one_number_per_line_is_a_count_per_bin() {
    let reading = reading("3\n5\n0\n").unwrap();
    assert_eq!(reading.format, Format::Counts);
    assert_eq!(reading.lines, 3);
    let trace = reading.trace;
    assert_eq!(trace.values, vec![Some(3.0), Some(5.0), Some(0.0)]);
    assert_eq!((trace.step, trace.kind, trace.dated), (seconds(10), Kind::Counts, false));
    assert_eq!(trace.rates_per_s(1.0), vec![Some(0.3), Some(0.5), Some(0.0)]);
}

#[test]
fn the_bin_of_a_count_file_is_the_callers() {
    let options = ReadOptions { bin: seconds(60), ..ReadOptions::default() };
    assert_eq!(read(&b"3\n"[..], "test", &options).unwrap().trace.step, seconds(60));
}

#[test]
fn a_csv_value_is_a_rate_as_is() {
    let trace = reading("timestamp_s,value\n0,91.5\n300,94.25\n").unwrap().trace;
    assert_eq!((trace.step, trace.kind, trace.dated), (seconds(300), Kind::Rate, false));
    assert_eq!(trace.rates_per_s(1.0), vec![Some(91.5), Some(94.25)]);
}

#[test]
fn a_csv_count_is_events_per_step() {
    let trace = reading("timestamp_s,count\n0,30\n10,50\n").unwrap().trace;
    assert_eq!((trace.step, trace.kind), (seconds(10), Kind::Counts));
    assert_eq!(trace.rates_per_s(1.0), vec![Some(3.0), Some(5.0)]);
}

#[test]
fn a_gap_in_a_csv_file_is_missing_and_not_zero() {
    let csv = "timestamp_s,count\n0,1\n10,2\n40,3\n50,4\n";
    assert_eq!(values(csv), vec![Some(1.0), Some(2.0), None, None, Some(3.0), Some(4.0)]);
    let first_is_gap = "timestamp_s,count\n0,1\n30,2\n40,3\n";
    assert_eq!(values(first_is_gap), vec![Some(1.0), None, None, Some(2.0), Some(3.0)]);
}

#[test]
fn unix_times_give_real_dates_and_small_times_do_not() {
    let trace = reading("timestamp_s,value\n804571200,1\n804571200.5,2\n").unwrap().trace;
    assert_eq!((trace.start, trace.dated), (Timestamp::from_secs(804_571_200), true));
    assert_eq!(trace.step, seconds(1) / 2);
    let trace = reading("timestamp_s,value\n3600,1\n3610,2\n").unwrap().trace;
    assert_eq!((trace.start, trace.dated), (Timestamp(0), false));
}

#[test]
fn requests_of_a_log_are_counted_and_empty_bins_are_zero() {
    let reading = reading(log([1, 3, 9, 10, 45])).unwrap();
    assert_eq!((reading.format, reading.lines, reading.skipped), (Format::Clf, 5, None));
    let trace = reading.trace;
    assert_eq!(trace.values, [3.0, 1.0, 0.0, 0.0, 1.0].map(Some));
    assert_eq!(trace.start, Timestamp::from_secs(804_571_200));
    assert_eq!((trace.dated, trace.utc_offset_s, trace.kind), (true, -4 * 3600, Kind::Counts));
}

#[test]
fn the_time_zone_of_each_log_line_counts() {
    // One hour of the same clock time, before and after the end of daylight saving time.
    let log = "h - - [29/Oct/1995:01:59:59 -0400] \"GET / HTTP/1.0\" 200 1\n\
               h - - [29/Oct/1995:01:00:01 -0500] \"GET / HTTP/1.0\" 200 1\n";
    assert_eq!(values(log), vec![Some(1.0), Some(1.0)]);
}

#[test]
fn combined_format_and_odd_requests_count() {
    let log = "::1 - bob [01/Jul/1995:00:00:01 -0400] \"GET / HTTP/1.0\" 200 1 \"http://a/\" \"Mozilla/5.0 [en]\"\n\
               h - - [01/Jul/1995:00:00:02 -0400] \"GET /\"x\" HTTP/1.0\"\" 404 -\n\
               h - - [01/Jul/1995:00:00:03 -0400] \"\\x16\\x03\\x01\" 400 226\n\
               h - - [01/Jul/1995:00:00:04 -0400] \"GET /cut off in the mid";
    assert_eq!(values(log), vec![Some(4.0)]);
}

#[test]
fn lines_slightly_out_of_order_count_where_they_belong() {
    // The second is older than the first line of the log, too.
    assert_eq!(values(log([3605, 25, 3599, 3605])), {
        let mut expected = vec![Some(0.0); 359];
        expected[0] = Some(1.0);
        expected[357] = Some(1.0);
        expected[358] = Some(2.0);
        expected
    });
}

#[test]
fn damaged_log_lines_are_skipped_counted_and_the_first_is_named() {
    let damaged = format!("{}\u{fffd}alyssa.p\n\n{}", log([1, 2]), log([3]));
    let reading = reading(damaged).unwrap();
    assert_eq!(reading.trace.values, vec![Some(3.0)]);
    let skipped = reading.skipped.unwrap();
    assert_eq!((skipped.lines, skipped.first_line), (2, 3));
    assert_eq!(skipped.problem, LineProblem::NoLogTime);
    assert_eq!(skipped.found, "\u{fffd}alyssa.p");
}

#[test]
fn a_damaged_date_does_not_disturb_the_lines_after_it() {
    let far_ahead = log_line(10).replace("1995", "2095");
    let far_behind = log_line(10).replace("1995", "1905");
    let reading = reading([log([1, 2]), far_ahead, far_behind, log([3])].concat()).unwrap();
    assert_eq!(reading.trace.values, vec![Some(3.0)]);
    let skipped = reading.skipped.unwrap();
    assert!(matches!((skipped.lines, skipped.problem), (2, LineProblem::FarAhead { .. })));
}

#[test]
fn line_ends_byte_order_mark_and_missing_last_newline_do_not_matter() {
    for text in ["3\n5\n".to_owned(), "timestamp_s,count\n0,3\n10,5\n".to_owned(), log([1, 12])] {
        let expected = values(&text);
        let crlf = text.replace('\n', "\r\n");
        for variant in [&crlf, text.trim_end(), &format!("\u{feff}{text}"), &format!("\u{feff}{crlf}\r\n")] {
            assert_eq!(values(variant), expected, "{variant:?}");
        }
    }
}

#[test]
fn gzip_is_told_by_its_content_and_may_have_many_members() {
    let plain = log((0..2000).map(|i| i * 7));
    assert_eq!(values(gz(&plain)), values(&plain));
    // Members may end anywhere, also within a line.
    let members: Vec<u8> = plain.as_bytes().chunks(1001).flat_map(gz).collect();
    assert_eq!(values(members), values(&plain));
}

#[test]
fn a_format_asked_for_is_not_second_guessed() {
    assert_eq!(reading_as(Format::Counts, "3\n5\n").unwrap().trace.values.len(), 2);
    assert!(reading_as(Format::Csv, "3\n5\n").is_err());
    assert!(reading_as(Format::Counts, log([1])).is_err());
    assert!(reading_as(Format::Clf, "3\n5\n").is_err());
}

#[test]
fn the_trace_is_named_after_the_file() {
    for (file, name) in [("logs/nasa.log.gz", "nasa"), ("nasa", "nasa"), ("/x/a.b.csv", "a.b"), ("-", "-")] {
        assert_eq!(read(&b"1\n"[..], file, &ReadOptions::default()).unwrap().trace.name, name);
    }
}

#[test]
fn a_file_on_disk_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("visits.counts");
    std::fs::write(&path, gz("1\n2\n")).unwrap();
    let trace = sphere_trace::read_file(&path, &ReadOptions::default()).unwrap().trace;
    assert_eq!((trace.name.as_str(), trace.values), ("visits", vec![Some(1.0), Some(2.0)]));
}

proptest! {
    #[test]
    fn every_request_of_an_ordered_log_is_counted_once(
        mut at in prop::collection::vec(0u64..200_000, 1..200),
        bin in 1u64..4000,
    ) {
        at.sort_unstable();
        let options = ReadOptions { bin: seconds(bin), ..ReadOptions::default() };
        let trace = read(log(at.iter().copied()).as_bytes(), "test", &options).unwrap().trace;
        prop_assert_eq!(trace.values.iter().flatten().sum::<f64>(), at.len() as f64);
        prop_assert!(trace.values[0] > Some(0.0) && *trace.values.last().unwrap() > Some(0.0));
        prop_assert_eq!(trace.start.millis() % (bin as i64 * 1000), 0);
    }

    #[test]
    fn a_csv_with_gaps_is_put_where_it_belongs(tail in prop::collection::vec(any::<bool>(), 0..60)) {
        // As many rows at even distances as may follow at others, so that these can not become the step.
        let present: Vec<bool> = std::iter::repeat_n(true, 62).chain(tail).chain([true]).collect();
        let expected: Vec<_> = present.iter().enumerate().map(|(i, p)| p.then_some(i as f64)).collect();
        let rows: String = expected.iter().flatten().map(|i| format!("{},{i}\n", i * 60.0)).collect();
        prop_assert_eq!(values(format!("timestamp_s,value\n{rows}")), expected);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for format in [Format::Auto, Format::Counts, Format::Csv, Format::Clf] {
            let _ = reading_as(format, &bytes);
            let _ = reading_as(format, [b"timestamp_s,count\n", bytes.as_slice()].concat());
        }
    }
}
