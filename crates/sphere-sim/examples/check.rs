//! scratch
use rayon::prelude::*;
use sphere_sim::demand::Spread;
use sphere_sim::policy::*;
use sphere_sim::*;
use std::time::Duration;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = "/work/shared/data/";
    let read = |f: &str, count: bool| -> Profile {
        let t = std::fs::read_to_string(format!("{dir}{f}")).unwrap();
        let rates = t
            .lines()
            .skip(1)
            .map(|l| {
                l.split(',').nth(1).unwrap().parse::<f64>().ok().map(|v| if count { v / 10.0 } else { v })
            })
            .collect();
        Profile { start: sphere_core::Timestamp(0), step: Duration::from_secs(10), rates_rps: rates }
    };
    let mut nasa = read("nasa_jul95_10s.csv", true);
    nasa.rates_rps.iter_mut().flatten().for_each(|v| *v *= 50.0);
    let wc = read("wc98_10s.csv", true);
    let ali = read("alibaba2018_cpu_10s.csv", false);
    let mut cells: Vec<(String, &Profile, std::ops::Range<usize>)> = vec![];
    for d in [11, 3, 7, 16, 20] {
        cells.push((format!("nasa_d{d}"), &nasa, d * 8640..(d + 2) * 8640));
    }
    cells.push(("wc_d1".into(), &wc, 0..8640));
    cells.push(("wc_d2".into(), &wc, 8640..17280));
    let n = ali.rates_rps.len();
    cells.push(("ali".into(), &ali, n - 17280..n));
    let physics = if args.get(1).is_some_and(|a| a == "queue") { Physics::Queue } else { Physics::Loss };
    let mut all = vec![];
    for su in [30.0, 60.0, 180.0] {
        for (name, p, seg) in &cells {
            let mu = p.peak_rps(seg.clone()) / 20.0;
            let mut st = Settings::new(mu, Startup::Fixed(su), physics);
            st.history = Duration::from_secs(14 * 86400);
            let demand = Demand::new(
                p,
                seg.clone(),
                st.history,
                physics.tick_s(),
                10,
                if physics == Physics::Loss { Spread::Constant } else { Spread::Poisson(1) },
            );
            let oracle = run(&demand, &st, &mut Oracle::new(&demand, mu, su), 1, false).score;
            let mut hpa: Vec<(f64, f64, String)> = (30..=100)
                .into_par_iter()
                .flat_map(|t| {
                    [HpaSignal::CpuPct(t), HpaSignal::RequestsPct(t)]
                        .into_par_iter()
                        .map(|s| {
                            let r = run(&demand, &st, &mut HpaPolicy::new(s, &st), 1, false).score;
                            (r.violation_time_pct, r.pod_hours, format!("{s:?}"))
                        })
                        .collect::<Vec<_>>()
                })
                .collect();
            hpa.sort_by(|a, b| a.0.total_cmp(&b.0));
            let h60 = hpa.iter().find(|h| h.2 == "CpuPct(60)").unwrap().clone();
            let frontier = |v: f64| {
                let mut pts: Vec<(f64, f64)> = vec![];
                for h in &hpa {
                    if pts.last().is_none_or(|l| h.1 < l.1) {
                        pts.push((h.0, h.1));
                    }
                }
                let i = pts.partition_point(|p| p.0 <= v);
                if i == 0 {
                    return f64::NAN;
                }
                let a = pts[i - 1];
                match pts.get(i) {
                    Some(b) if b.0 > a.0 => a.1 + (v - a.0) / (b.0 - a.0) * (b.1 - a.1),
                    _ => a.1,
                }
            };
            let t0 = std::time::Instant::now();
            let s =
                run(&demand, &st, &mut SpherePolicy::new(Objective::PriceRatio(20.0), &st), 1, false).score;
            let el = t0.elapsed().as_secs_f64();
            let h = frontier(s.violation_time_pct);
            let sav = (1.0 - s.pod_hours / h) * 100.0;
            all.push(sav);
            let slo = run(&demand, &st, &mut SpherePolicy::new(Objective::Slo(0.005), &st), 1, false).score;
            println!(
                "{name:8} {su:4} oracle {:.1} hpa60 {:.2}% {:.1}h | sphere {:.2}% {:.1}h up {} failed {:.3}% p99 {:?} tuned {:.1} sav {:.1}% | slo.5 {:.2}% {:.1}h ({el:.2}s)",
                oracle.pod_hours,
                h60.0,
                h60.1,
                s.violation_time_pct,
                s.pod_hours,
                s.scale_ups + s.scale_downs,
                s.failed_requests_pct,
                s.latency_p99_ms,
                h,
                sav,
                slo.violation_time_pct,
                slo.pod_hours
            );
        }
    }
    all.sort_by(f64::total_cmp);
    println!(
        "median {:.2} min {:.2} n>0 {}/{}",
        all[all.len() / 2],
        all[0],
        all.iter().filter(|s| **s > 0.0).count(),
        all.len()
    );
}
