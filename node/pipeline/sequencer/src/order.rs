use keel_ingress::queue::Submission;
use keel_types::{Address, Command, TimeInForce};
use std::collections::BTreeMap;

/// Orders one drained batch: the node's own commands, then cancels, then post-only, then the rest, each in arrival order;
/// but never an account's message ahead of its own earlier one. [spec exchange, Admission and ordering]
///
/// Cancels before places: a maker pulling quotes must not lose to a taker of the same millisecond.
pub fn order_batch(mut batch: Vec<Submission>) -> Vec<Submission> {
    batch.sort_by_key(|s| s.arrival);
    let mut slowest: BTreeMap<Address, Class> = BTreeMap::new();
    let mut keyed: Vec<(Class, Submission)> = Vec::with_capacity(batch.len());
    for submission in batch {
        let mut class = Class::of(&submission.command);
        if let Some(account) = submission.command.account() {
            let own = slowest.entry(account).or_insert(class);
            *own = class.max(*own);
            class = *own;
        }
        keyed.push((class, submission));
    }
    keyed.sort_by_key(|(class, _)| *class); // stable: arrival order inside a class
    keyed.into_iter().map(|(_, submission)| submission).collect()
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    System,
    Cancel,
    PostOnly,
    Rest,
}

impl Class {
    fn of(command: &Command) -> Class {
        match command {
            command if command.is_cancel() => Class::Cancel,
            Command::Place(order) if order.time_in_force == TimeInForce::PostOnly => Class::PostOnly,
            command if command.account().is_some() => Class::Rest,
            _ => Class::System,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keel_types::*;

    /// `a:cancel b:taker a:maker` -> the order in which they execute.
    fn check(script: &str, expected: &str) {
        let batch = script.split_whitespace().enumerate().map(|(i, word)| submission(i as u64, word)).collect();
        let ordered: Vec<&str> =
            order_batch(batch).iter().map(|s| script.split_whitespace().nth(s.arrival as usize).unwrap()).collect();
        assert_eq!(ordered.join(" "), expected);
    }

    fn submission(arrival: u64, word: &str) -> Submission {
        let (account, kind) = word.split_once(':').unwrap();
        let account = Address(Felt::from(account.as_bytes()[0]));
        let signed = Signed {
            account,
            nonce: arrival,
            valid_until: Ts(1),
            hash: MessageHash(Felt::from(arrival + 1)),
            session_key: StarkKey::default(),
        };
        let place = |time_in_force| {
            Command::Place(PlaceOrder {
                signed,
                market: MarketId(0),
                side: Side::Buy,
                order_type: OrderType::Limit,
                size: Qty(1),
                price: Price(1),
                trigger_price: Price(0),
                time_in_force,
                good_til: Ts(0),
                reduce_only: false,
                self_trade: SelfTradeMode::CancelTaker,
                client_id: 0,
            })
        };
        let command = match kind {
            "cancel" => Command::Cancel(CancelOrder { signed, order: MessageHash(Felt::ONE), client_id: 0 }),
            "maker" => place(TimeInForce::PostOnly),
            "taker" => place(TimeInForce::Ioc),
            "modify" => {
                Command::Modify(ModifyOrder { signed, order: MessageHash(Felt::ONE), price: Price(1), size: Qty(1) })
            }
            "switch" => Command::ScheduleCancel(ScheduleCancel { signed, at: Ts(0) }),
            "lost" => Command::SessionCancelAll(SessionCancelAll { account, market: None, disconnected: true }),
            "tick" => Command::Tick,
            other => panic!("unknown word {other}"),
        };
        Submission { command, reply: None, arrival }
    }

    #[test]
    fn cancels_go_before_post_only_before_takers() {
        check("a:taker b:maker c:cancel n:tick", "n:tick c:cancel b:maker a:taker");
    }

    #[test]
    fn arrival_order_holds_inside_a_class() {
        check("a:taker b:taker c:maker d:maker", "c:maker d:maker a:taker b:taker");
    }

    #[test]
    fn an_account_is_never_reordered_against_itself() {
        check("a:taker a:cancel b:cancel", "b:cancel a:taker a:cancel");
        check("a:maker a:cancel b:taker c:cancel", "c:cancel a:maker a:cancel b:taker");
        check("a:modify a:lost b:modify b:switch c:cancel", "c:cancel a:modify a:lost b:modify b:switch");
    }

    #[test]
    fn unsigned_cancels_and_switches_go_with_the_cancels_and_a_modify_with_the_takers() {
        check("a:modify b:maker c:lost d:switch e:cancel", "c:lost d:switch e:cancel b:maker a:modify");
    }
}
