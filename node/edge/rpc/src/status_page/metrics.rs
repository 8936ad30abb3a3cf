use super::shown::Shown;
use crate::context::IntegrityVerdict;
use keel_types::{LossReason, Phase};
use std::fmt::{Display, Write};

/// What the page shows, for an alarm: the text format that Prometheus reads. Ages are in seconds.
/// [Prometheus, Exposition formats, version 0.0.4]
pub(super) fn metrics(shown: &Shown) -> String {
    let mut out = Metrics(String::new());
    out.family("keel_phase", "1 of the phase that the exchange is in.");
    for phase in Phase::ALL {
        out.of("keel_phase", &[("phase", phase.as_str())], u8::from(*phase == shown.phase.phase));
    }
    out.one("keel_executing", "0 while commands are not executed, whatever the phase.", u8::from(shown.stuck.is_none()));
    out.one("keel_incident", "The running incident, in OPEN the last one; 0 before the first.", shown.phase.incident.0);
    let waiting = shown.stuck.as_ref().and_then(|stuck| stuck.loss).map(|(reasons, _)| reasons).unwrap_or_default();
    let running = if shown.phase.phase == Phase::Open { waiting } else { shown.phase.reasons.with(waiting) };
    out.family("keel_loss", "1 of each reason of the running incident.");
    for reason in LossReason::ALL {
        out.of("keel_loss", &[("reason", reason.as_str())], u8::from(running.contains(*reason)));
    }
    let cancelled = shown.incident.map_or(0, |incident| incident.cancelled);
    out.one("keel_incident_cancelled_orders", "Orders that the newest incident cancelled.", cancelled);
    let passed = shown
        .integrity
        .as_ref()
        .is_some_and(|found| found.current && matches!(found.said.verdict, IntegrityVerdict::Passed(_)));
    out.one("keel_integrity_passed", "1 once the integrity report of the newest incident has passed.", u8::from(passed));
    out.one("keel_open_orders", "Open orders, those that wait for a trigger included.", shown.open_orders);
    out.one("keel_seq", "Last command that was released.", shown.at.seq);
    out.one("keel_height", "Last block that was sealed.", shown.at.height);
    let silent_ms = super::shown::ms_between(shown.at.ts, shown.now);
    out.one("keel_released_age_seconds", "Since the last record that was released.", Seconds(silent_ms));

    type Figure = (&'static str, &'static str, fn(&super::shown::MarketShown) -> f64);
    let by_market: [Figure; 3] = [
        ("keel_market_price_age_seconds", "Since the last quorum price.", |market| market.age_ms as f64 / 1_000.0),
        ("keel_market_stale", "1 while the price is too old to trade on.", |market| market.stale.into()),
        ("keel_market_held", "1 while a price that moved too far is held.", |market| market.held.into()),
    ];
    for (name, help, figure) in by_market {
        out.family(name, help);
        for market in &shown.markets {
            out.of(name, &[("market", &market.name)], figure(market));
        }
    }
    if let Some(settlement) = &shown.settlement {
        if let Some(age) = settlement.head_age_ms {
            out.one("keel_settlement_head_age_seconds", "Since the settlement layer's head advanced.", Seconds(age));
        }
        out.one("keel_settlement_backlog_batches", "Batches that are not confirmed.", settlement.backlog_batches);
        let oldest = Seconds(settlement.backlog_age_ms.unwrap_or_default());
        out.one("keel_settlement_backlog_age_seconds", "Age of the oldest block that is in no confirmed batch.", oldest);
        let cancellations = settlement.cancellations;
        out.one("keel_settlement_cancellations", "Consumed messages that their senders take back.", cancellations);
    }
    out.one("keel_failing_monitors", "Monitors of the guard that give no readings.", shown.failing.len());
    out.0
}

struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

struct Metrics(String);

impl Metrics {
    /// Begins a metric; all are gauges: what is now.
    fn family(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    fn of(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }

    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, help);
        let _ = writeln!(self.0, "{name} {value}");
    }
}
