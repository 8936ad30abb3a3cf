use super::shown::{ConfirmedShown, IntegrityShown, SettlementShown, Shown, ms_between};
use super::words;
use crate::context::{Integrity, IntegrityReport, IntegrityVerdict};
use crate::time::utc;
use keel_feeds::{PhaseChange, PhaseStep};
use keel_types::{IncidentId, LossReason, LossReasons, Phase, Ts};
use std::fmt::{Display, Write};

/// Longest after opening that the page explains the grace: it lasts at most so long.
const GRACE_MS_MAX: u64 = 1_800_000;

/// HTML in the making. What is not a constant of this program can only go through [Html::text], which escapes.
struct Html(String);

impl Html {
    fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    fn text(&mut self, text: impl Display) -> &mut Html {
        // Writing to a String does not fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Both, as `<b>label</b>value` of a list of facts; `mark` is a word that says whether it is well.
    fn fact(&mut self, label: &'static str, value: impl Display, mark: Mark) -> &mut Html {
        self.raw("<div><dt>").raw(label).raw("</dt><dd>").text(value).mark(mark).raw("</dd></div>")
    }

    fn mark(&mut self, mark: Mark) -> &mut Html {
        match mark {
            Mark::None => self,
            Mark::Good(word) => self.raw(" <b class=\"mark good\">").raw(word).raw("</b>"),
            Mark::Bad(word) => self.raw(" <b class=\"mark bad\">").raw(word).raw("</b>"),
        }
    }

    /// A moment, to the millisecond, and how long ago.
    fn moment(&mut self, at: Ts, now: Ts) -> &mut Html {
        self.time(at, now).raw(" <span class=\"ago\">").text(Ago(at, now)).raw("</span>")
    }

    /// A moment, to the millisecond; the date only where it is not today's.
    fn time(&mut self, at: Ts, now: Ts) -> &mut Html {
        let ((date, time), (today, _)) = (utc(at), utc(now));
        self.raw("<time>");
        if date != today {
            self.raw("<span>").text(date).raw("</span> ");
        }
        self.raw("<span>").text(time).raw("</span></time>")
    }

    fn list(&mut self, class: &'static str, items: &[&'static str]) -> &mut Html {
        self.raw("<ul class=\"").raw(class).raw("\">");
        for item in items {
            self.raw("<li>").raw(item).raw("</li>");
        }
        self.raw("</ul>")
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Mark {
    None,
    Good(&'static str),
    Bad(&'static str),
}

/// An icon in a colour, as a URL that needs no request.
macro_rules! favicon {
    ($colour:literal, $shape:literal) => {
        concat!(
            "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 48 48' fill='%23",
            $colour,
            "'%3E",
            $shape,
            "%3C/svg%3E"
        )
    };
}
/// What stands in large letters. A shape of its own beside each: nobody has to tell colours apart.
struct Headline {
    word: &'static str,
    class: &'static str,
    icon: &'static str,
    /// Of the browser's tab.
    favicon: &'static str,
}

const STOPPED: Headline = Headline {
    word: "STOPPED",
    class: "stopped",
    icon: "<path class=\"fill\" d=\"M24 4 46 43H2z\"/><path class=\"line\" d=\"M24 18v12M24 35.5v1.5\"/>",
    favicon: favicon!("a3201b", "%3Cpath d='M24 4 46 43H2z'/%3E"),
};

/// Shapes: an octagon, an eye, a circle that fills up.
fn headline(phase: Phase) -> Headline {
    match phase {
        Phase::Halted => Headline {
            word: "HALTED",
            class: "halted",
            icon: "<path class=\"fill\" d=\"M15 3h18l12 12v18L33 45H15L3 33V15z\"/><path class=\"line\" d=\"M14 24h20\"/>",
            favicon: favicon!("a3201b", "%3Cpath d='M15 3h18l12 12v18L33 45H15L3 33V15z'/%3E"),
        },
        Phase::ReadOnly => Headline {
            word: "READ ONLY",
            class: "read-only",
            icon: "<path class=\"fill\" d=\"M2 24C9 13 16 9 24 9s15 4 22 15c-7 11-14 15-22 15S9 35 2 24z\"/>\
                   <circle class=\"hole\" cx=\"24\" cy=\"24\" r=\"7\"/>",
            favicon: favicon!("8a4b00", "%3Cpath d='M2 24C9 13 16 9 24 9s15 4 22 15c-7 11-14 15-22 15S9 35 2 24z'/%3E"),
        },
        Phase::Spot => Headline {
            word: "SPOT",
            class: "spot",
            icon: "<circle class=\"ring\" cx=\"24\" cy=\"24\" r=\"19\"/><path class=\"fill\" d=\"M24 5a19 19 0 0 1 0 38z\"/>",
            favicon: favicon!("0b5cad", "%3Cpath d='M24 2a22 22 0 0 1 0 44z'/%3E"),
        },
        Phase::ReduceOnly => Headline {
            word: "REDUCE ONLY",
            class: "reduce-only",
            icon: "<circle class=\"ring\" cx=\"24\" cy=\"24\" r=\"19\"/><path class=\"fill\" d=\"M24 24V5a19 19 0 1 1-19 19z\"/>",
            favicon: favicon!("6a3fb5", "%3Cpath d='M24 24V2a22 22 0 1 1-22 22z'/%3E"),
        },
        Phase::Open => Headline {
            word: "OPEN",
            class: "open",
            icon: "<circle class=\"fill\" cx=\"24\" cy=\"24\" r=\"21\"/><path class=\"line\" d=\"m14 25 7 7 13-15\"/>",
            favicon: favicon!("13703b", "%3Ccircle cx='24' cy='24' r='22'/%3E"),
        },
    }
}

/// The whole page. The script replaces what is inside `main` and the head's title and icon, from a page like this one.
pub(super) fn page(shown: &Shown, style: &'static str, script: &'static str) -> String {
    let headline = match &shown.stuck {
        Some(_) if shown.phase.phase != Phase::Halted => STOPPED,
        _ => headline(shown.phase.phase),
    };
    let mut html = Html(String::with_capacity(24 * 1024));
    html.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
        .raw("<meta name=\"color-scheme\" content=\"light dark\"><title>")
        .raw(headline.word)
        .raw(" · Keel status</title><link rel=\"icon\" href=\"")
        .raw(headline.favicon)
        .raw("\"><noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript><style>")
        .raw(style)
        .raw("</style></head><body><p id=\"offline\" role=\"alert\" hidden></p><main class=\"")
        .raw(headline.class)
        .raw("\">");
    hero(&mut html, shown, &headline);
    html.raw("<div class=\"columns\"><div>");
    reasons(&mut html, shown);
    integrity(&mut html, shown);
    timeline(&mut html, shown);
    html.raw("</div><div>");
    cancelled(&mut html, shown);
    markets(&mut html, shown);
    settlement(&mut html, shown);
    monitors(&mut html, shown);
    html.raw("</div></div>");
    footer(&mut html, shown);
    html.raw("</main><script>").raw(script).raw("</script></body></html>\n");
    html.0
}

fn hero(html: &mut Html, shown: &Shown, headline: &Headline) {
    let (phase, words) = (shown.phase.phase, words::phase(shown.phase.phase));
    html.raw("<header class=\"hero\"><p class=\"where\">Keel exchange <span>").text(&shown.chain_id).raw("</span></p>");
    html.raw("<h1><svg viewBox=\"0 0 48 48\" aria-hidden=\"true\">")
        .raw(headline.icon)
        .raw("</svg><span id=\"phase\" role=\"status\">");
    html.raw(headline.word).raw("</span></h1><p class=\"lead\">");
    match &shown.stuck {
        None => html.raw(words.lead),
        Some(stuck) => html.raw(words::STOPPED_LEAD).raw(" ").raw(match stuck.loss {
            Some(_) => words::STOPPED_LOSS,
            None => words::STOPPED_SILENT,
        }),
    };
    html.raw("</p>");
    if shown.is_post_only() {
        html.raw("<p class=\"lead\">For now spot takes post-only orders alone, until ");
        html.time(shown.phase.post_only_until, shown.now).raw(".</p>");
    }
    if phase == Phase::Open
        && shown.stuck.is_none()
        && shown.phase.incident != IncidentId(0)
        && ms_between(shown.phase.since, shown.now) < GRACE_MS_MAX
    {
        html.raw("<p class=\"note\">").raw(words::GRACE).raw("</p>");
    }
    html.raw("<p class=\"since\">");
    match &shown.stuck {
        None => html.raw("Since ").moment(shown.phase.since, shown.now),
        Some(stuck) => {
            html.raw("Nothing was recorded for <b>").text(Span(stuck.silent_ms)).raw("</b>; the last recorded phase is <b>");
            html.raw(self::headline(phase).word).raw("</b>, since ").moment(shown.phase.since, shown.now)
        }
    };
    html.raw("</p>");
    // What a recorded phase allows, and what follows it, holds only while something executes.
    if shown.stuck.is_none() || phase == Phase::Halted {
        ladder(html, shown);
        next(html, shown, &words);
        html.raw("<div class=\"you\"><section><h2>Works now</h2>").list("can", words.can).raw("</section>");
        if !words.cannot.is_empty() {
            html.raw("<section><h2>Does not work now</h2>").list("cannot", words.cannot).raw("</section>");
        }
        html.raw("</div>");
    }
    html.raw("</header>");
}

/// All phases in a row, and where we are.
fn ladder(html: &mut Html, shown: &Shown) {
    html.raw("<ol class=\"ladder\" aria-label=\"Phases of reopening\">");
    for phase in Phase::ALL {
        html.raw(match phase.cmp(&shown.phase.phase) {
            std::cmp::Ordering::Less => "<li class=\"passed\">",
            std::cmp::Ordering::Equal => "<li class=\"here\" aria-current=\"step\">",
            std::cmp::Ordering::Greater => "<li>",
        });
        html.raw(headline(*phase).word).raw("</li>");
    }
    html.raw("</ol>");
}

fn next(html: &mut Html, shown: &Shown, words: &words::PhaseWords) {
    let Some(next) = shown.next() else { return };
    html.raw("<section class=\"next\"><h2>Next: ").raw(headline(next).word).raw("</h2><p>");
    let waits = shown.phase.phase == Phase::Halted && shown.phase.reasons.needs_operator();
    if waits {
        html.raw(match shown.phase.reasons.contains(LossReason::InvariantBroken) {
            true => "HALTED holds until two different operators have said that the exchange may go on.",
            false => "HALTED holds until an operator has said that the exchange may go on.",
        });
    } else {
        html.raw(words.next);
    }
    html.raw("</p><p id=\"eta\">");
    match shown.eta {
        None => html.raw("Nobody can say when."),
        Some(eta) if eta > shown.now => {
            html.raw("Not before ").time(eta, shown.now).raw(", in <b>");
            html.text(Span(ms_between(shown.now, eta))).raw("</b>.")
        }
        Some(_) => html.raw("As soon as that is so: no more time has to pass."),
    };
    html.raw("</p></section>");
}

fn reasons(html: &mut Html, shown: &Shown) {
    let detected = shown.stuck.as_ref().and_then(|stuck| stuck.loss);
    if let Some((reasons, since)) = detected {
        html.raw("<section id=\"why\"><h2>Why</h2><p>Detected ").moment(since, shown.now).raw("</p>");
        explain(html, reasons);
        html.raw("</section>");
        return;
    }
    let Some(incident) = &shown.incident else { return };
    html.raw("<section id=\"why\"><h2>").raw(if shown.phase.phase == Phase::Open { "The last incident" } else { "Why" });
    html.raw("</h2><p>Incident <b>").text(incident.incident).raw("</b>, detected ").moment(incident.observed_ts, shown.now);
    html.raw("</p>");
    explain(html, incident.reasons);
    html.raw("</section>");
}

fn explain(html: &mut Html, reasons: LossReasons) {
    for reason in reasons.iter() {
        let words = words::reason(reason);
        html.raw("<article><h3>").raw(words.what).raw("</h3><p><code>").raw(reason.as_str()).raw("</code></p><dl>");
        html.raw("<div><dt>Traders</dt><dd>").raw(words.traders).raw("</dd></div>");
        html.raw("<div><dt>Operators</dt><dd>").raw(words.operators).raw("</dd></div></dl></article>");
    }
}

fn cancelled(html: &mut Html, shown: &Shown) {
    let Some(incident) = &shown.incident else { return };
    html.raw("<section id=\"cancelled\"><h2>Cancelled by incident ").text(incident.incident).raw("</h2><p><b>");
    html.text(incident.cancelled).raw(if incident.cancelled == 1 { "</b> order." } else { "</b> orders." });
    html.raw(" Each has a receipt: <code>node_getCancelReceipt</code>.</p>");
    let before = shown.cancelled_before();
    if incident.cancelled > 0 {
        html.raw("<table><thead><tr><th>Market</th><th>Orders</th></tr></thead><tbody>");
        for (market, orders) in &shown.cancelled {
            html.raw("<tr><td>").text(market).raw("</td><td>").text(orders).raw("</td></tr>");
        }
        if before > 0 {
            html.raw("<tr><td>before the node last started</td><td>").text(before).raw("</td></tr>");
        }
        html.raw("</tbody></table>");
    }
    html.raw("</section>");
}

fn integrity(html: &mut Html, shown: &Shown) {
    html.raw("<section id=\"integrity\"><h2>Integrity report</h2>");
    let expected = shown.phase.phase < Phase::Spot;
    match &shown.integrity {
        None if expected => drop(html.raw("<p>Not made yet. Nothing trades before it has passed.</p>")),
        None => drop(html.raw("<p>None since this chain began: there was no incident to come back from.</p>")),
        Some(IntegrityShown { said, current }) => {
            if !current && expected {
                html.raw("<p>Not made yet since the last halt. Nothing trades before it has passed.</p>");
            }
            verdict(html, said, *current, shown.now);
        }
    }
    html.raw("</section>");
}

fn verdict(html: &mut Html, said: &Integrity, current: bool, now: Ts) {
    html.raw("<p>");
    if !current {
        html.raw("The one before: ");
    }
    html.raw(match &said.verdict {
        IntegrityVerdict::Running => "<b>The checks are under way.</b>",
        IntegrityVerdict::NotYet => {
            "<b>Could not be made yet</b>: something it needs could not be had. It is tried again every second."
        }
        IntegrityVerdict::Passed(_) => "<b class=\"mark good\">passed</b> The state is the state it should be.",
        IntegrityVerdict::Broken(..) => "<b class=\"mark bad\">failed</b> The state is not the state it should be.",
    });
    html.raw("</p><dl>");
    html.fact("Incident", said.incident, Mark::None);
    if let Some(at) = said.at {
        html.raw("<div><dt>When</dt><dd>").moment(at, now).raw("</dd></div>");
    }
    match &said.verdict {
        IntegrityVerdict::Running | IntegrityVerdict::NotYet => drop(html.raw("</dl>")),
        IntegrityVerdict::Broken(reason, why) => {
            html.fact("Reason", reason, Mark::None).fact("What differs", why, Mark::None).raw("</dl>");
        }
        IntegrityVerdict::Passed(IntegrityReport { height, root, checks, hash }) => {
            html.fact("Block", height, Mark::None);
            html.raw("<div><dt>State root</dt><dd><code>").text(root).raw("</code></dd></div>");
            html.raw("<div><dt>Report</dt><dd><code>").text(hash).raw("</code></dd></div></dl><details open><summary>");
            html.text(checks.len()).raw(" checks</summary><ul class=\"can\">");
            for check in checks {
                html.raw("<li>").text(check).raw("</li>");
            }
            html.raw("</ul></details>");
        }
    }
}

fn markets(html: &mut Html, shown: &Shown) {
    let oracle = &shown.oracle;
    html.raw("<section id=\"markets\"><h2>Markets and oracle</h2><p>Fresh prices in <b>").text(oracle.fresh).raw(" of ");
    html.text(oracle.markets).raw("</b> markets; a price needs <b>").text(oracle.quorum).raw(" of ");
    html.text(oracle.publishers).raw("</b> publishers.").mark(match oracle.fresh == oracle.markets {
        true => Mark::Good("ok"),
        false => Mark::Bad("stale"),
    });
    html.raw("</p>");
    html.raw("<table class=\"wide\"><thead><tr><th>Market</th><th>Oracle</th><th>Mark</th><th>Age</th></tr></thead><tbody>");
    for market in &shown.markets {
        html.raw("<tr><td>").text(&market.name);
        if market.stale {
            html.mark(Mark::Bad("stale"));
        }
        if market.held {
            html.mark(Mark::Bad("held"));
        }
        html.raw("</td><td data-label=\"Oracle\">").text(market.state.oracle).raw("</td><td data-label=\"Mark\">");
        html.text(market.state.mark).raw("</td><td data-label=\"Age\">").text(Span(market.age_ms)).raw("</td></tr>");
    }
    html.raw("</tbody></table>");
    let left_out = oracle.markets - shown.markets.len();
    if left_out > 0 {
        html.raw("<p>and ").text(left_out).raw(" more.</p>");
    }
    html.raw("</section>");
}

fn settlement(html: &mut Html, shown: &Shown) {
    html.raw("<section id=\"settlement\"><h2>Settlement on ").raw(shown.layer).raw("</h2>");
    let Some(settlement) = &shown.settlement else {
        html.raw("<p>No figures yet: the node could not read them.</p></section>");
        return;
    };
    let SettlementShown { head, head_age_ms, submitter, confirmed, backlog_batches, backlog_age_ms, .. } = settlement;
    html.raw("<dl>");
    match (head, head_age_ms) {
        (Some(head), Some(age)) => {
            let mark = if *age > shown.ages_max.settlement_head { Mark::Bad("stale") } else { Mark::Good("ok") };
            html.raw("<div><dt>Newest block seen</dt><dd>").text(head).raw(", ").text(Span(*age)).raw(" ago").mark(mark);
            html.raw("</dd></div>");
        }
        _ => drop(html.fact("Newest block seen", "none yet", Mark::Bad("stale"))),
    }
    match confirmed {
        None => drop(html.fact("Last confirmed batch", "none yet", Mark::None)),
        Some(ConfirmedShown { batch, last_block, ts }) => {
            html.raw("<div><dt>Last confirmed batch</dt><dd>").text(batch).raw(", blocks up to ").text(last_block);
            if let Some(ts) = ts {
                html.raw(" <span class=\"ago\">").text(Ago(*ts, shown.now)).raw("</span>");
            }
            html.raw("</dd></div>");
        }
    }
    html.raw("<div><dt>Not confirmed yet</dt><dd>").text(backlog_batches);
    html.raw(if *backlog_batches == 1 { " batch" } else { " batches" });
    if let Some(age) = backlog_age_ms {
        html.raw(", the oldest made ").text(Span(*age)).raw(" ago");
        html.mark(if *age > shown.ages_max.settlement_backlog { Mark::Bad("late") } else { Mark::Good("ok") });
    }
    html.raw("</dd></div>");
    html.fact("Submitter", submitter, Mark::None);
    if settlement.cancellations > 0 {
        html.fact("Deposits being taken back", settlement.cancellations, Mark::Bad("watched"));
    }
    if settlement.read_ms_ago > shown.ages_max.released {
        html.raw("<div><dt>These figures</dt><dd>are ").text(Span(settlement.read_ms_ago)).raw(" old");
        html.mark(Mark::Bad("old")).raw("</dd></div>");
    }
    html.raw("</dl></section>");
}

fn monitors(html: &mut Html, shown: &Shown) {
    html.raw("<section id=\"monitors\"><h2>Monitors</h2>");
    if shown.failing.is_empty() {
        html.raw("<p>All monitors give readings").mark(Mark::Good("ok")).raw("</p>");
    } else {
        html.raw("<p>What a failing monitor watches is not watched until it is back. The others go on.</p><dl>");
        for (monitor, why) in &shown.failing {
            html.raw("<div><dt>").text(monitor).mark(Mark::Bad("failing")).raw("</dt><dd>").text(why).raw("</dd></div>");
        }
        html.raw("</dl>");
    }
    html.raw("</section>");
}

fn timeline(html: &mut Html, shown: &Shown) {
    html.raw(
        "<section id=\"timeline\"><h2>Timeline</h2><p>Since the node last started, newest first.</p><ol class=\"steps\">",
    );
    for step in &shown.steps {
        html.raw("<li class=\"").raw(headline(step.phase).class).raw("\"><p>").moment(step.ts, shown.now).raw("</p><p>");
        self::step(html, step);
        html.raw("</p></li>");
    }
    html.raw("</ol></section>");
}

fn step(html: &mut Html, step: &PhaseStep) {
    let word = headline(step.phase).word;
    match step.change {
        PhaseChange::Found => drop(html.raw("<b>").raw(word).raw("</b> began; the node found it when it started")),
        PhaseChange::Opened => drop(html.raw("<b>").raw(word).raw("</b> began")),
        PhaseChange::Resumed { operator } => {
            html.raw("Operator ").text(operator).raw(" said that incident ").text(step.incident).raw(" may go on");
        }
        PhaseChange::Lost { cancelled } => {
            html.raw("<b>").raw(word).raw("</b>, incident ").text(step.incident).raw(": ");
            for reason in step.reasons.iter() {
                html.raw("<code>").raw(reason.as_str()).raw("</code> ");
            }
            html.raw("and <b>").text(cancelled).raw(if cancelled == 1 {
                "</b> order cancelled"
            } else {
                "</b> orders cancelled"
            });
        }
    }
    html.raw(" <span class=\"ago\">#").text(step.seq).raw("</span>");
}

fn footer(html: &mut Html, shown: &Shown) {
    html.raw("<footer><dl>").fact("Block", shown.at.height, Mark::None).fact("Command", shown.at.seq, Mark::None);
    html.fact("Open orders", shown.open_orders, Mark::None).fact("Chain", &shown.chain_id, Mark::None);
    html.raw("<div><dt>Node</dt><dd>").raw(concat!("keel ", env!("CARGO_PKG_VERSION"))).raw("</dd></div></dl>");
    let (date, time) = utc(shown.at.ts);
    html.raw("<p>State as of ").text(date).raw(" ").text(time).raw(" UTC <span class=\"ago\">");
    html.text(Ago(shown.at.ts, shown.now)).raw("</span>, from this node alone. All times are UTC. ");
    html.raw("<a href=\"/status.json\">The same as data</a>.</p></footer>");
}

/// A length of time in its two largest units; below ten seconds in tenths. A number and its unit stay on one line.
struct Span(u64);

impl Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0 / 1_000;
        match seconds {
            0..10 => write!(f, "{seconds}.{}\u{a0}s", self.0 % 1_000 / 100),
            10..60 => write!(f, "{seconds}\u{a0}s"),
            60..3_600 => write!(f, "{}\u{a0}min {:02}\u{a0}s", seconds / 60, seconds % 60),
            3_600..86_400 => write!(f, "{}\u{a0}h {:02}\u{a0}min", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{}\u{a0}d {:02}\u{a0}h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// How long before the second the first was.
struct Ago(Ts, Ts);

impl Display for Ago {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ago", Span(ms_between(self.0, self.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut html = Html(String::new());
        html.raw("<p title=\"").text("\" onload='x()'").raw("\">").text("<script>&").raw("</p>");
        assert_eq!(html.0, "<p title=\"&quot; onload=&#39;x()&#39;\">&lt;script&gt;&amp;</p>");
    }

    #[test]
    fn moments_are_dates_in_utc() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_399_999, "2000-02-28 23:59:59.999"),
            (951_782_400_000, "2000-02-29 00:00:00.000"),
            (1_709_251_200_000, "2024-03-01 00:00:00.000"),
            (1_795_438_999_042, "2026-11-23 13:03:19.042"),
            (4_102_444_799_000, "2099-12-31 23:59:59.000"),
        ] {
            let (date, time) = utc(Ts::from_ms(ms));
            assert_eq!(format!("{date} {time}"), text);
        }
    }

    #[test]
    fn lengths_of_time_are_short() {
        for (ms, text) in [
            (0, "0.0 s"),
            (9_999, "9.9 s"),
            (10_000, "10 s"),
            (60_000, "1 min 00 s"),
            (3_599_999, "59 min 59 s"),
            (3_660_000, "1 h 01 min"),
            (90_000_000, "1 d 01 h"),
        ] {
            assert_eq!(Span(ms).to_string().replace('\u{a0}', " "), text);
        }
    }
}
