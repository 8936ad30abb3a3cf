//! From what the engine did to what the client is told.
use crate::context::Shared;
use crate::error::{PhaseData, RpcError};
use keel_feeds::OrderView;
use keel_ingress::IngressError;
use keel_ingress::queue::{Answer, Shed};
use keel_store::FillRow;
use keel_types::*;
use serde_json::{Value, json};

/// An executed command, or why it was not executed.
pub(crate) fn done(answer: Answer) -> Result<(Seq, Ts, Vec<Event>), Shed> {
    match answer {
        Answer::Done { seq, ts, events } => Ok((seq, ts, events)),
        Answer::Shed(shed) => Err(shed),
    }
}

/// What a user's command came to: the engine's own events, or the recorded outcome of the identical message before.
pub(crate) struct Executed {
    pub seq: Seq,
    pub ts: Ts,
    pub events: Vec<Event>,
    pub replayed: Option<Outcome>,
}

impl Executed {
    /// Sorts an answer: refusals become errors, a replay is looked up in its outcome.
    pub(crate) fn read(shared: &Shared, answer: Answer) -> Result<Executed, RpcError> {
        let (seq, ts, events) = done(answer).map_err(|shed| shed_error(shared, shed))?;
        let replayed = events.iter().find_map(|event| match event {
            Event::Replayed { outcome, .. } => Some(*outcome),
            _ => None,
        });
        let rejected = match &replayed {
            Some(Outcome { seq, result: OutcomeResult::Rejected(reject), .. }) => Some((*reject, true, *seq)),
            Some(_) => None,
            None => events.iter().find_map(|event| match event {
                Event::Rejected { reject, nonce_consumed, .. } => Some((*reject, *nonce_consumed, seq)),
                _ => None,
            }),
        };
        match rejected {
            Some((reject, nonce_consumed, at)) => Err(rejection(shared, reject, nonce_consumed, at, replayed.is_some())),
            None => match replayed {
                Some(outcome) => Ok(Executed { seq: outcome.seq, ts: outcome.ts, events, replayed }),
                None => Ok(Executed { seq, ts, events, replayed }),
            },
        }
    }

    /// Fails as a fault of ours unless the command had this success, now or when it was first executed.
    fn expect(&self, event: impl Fn(&Event) -> bool, result: impl Fn(OutcomeResult) -> bool) -> Result<(), RpcError> {
        let succeeded = match &self.replayed {
            Some(outcome) => result(outcome.result),
            None => self.events.iter().any(event),
        };
        if succeeded { Ok(()) } else { Err(RpcError::Internal) }
    }

    /// The fields every answer to a write begins with: those of the first execution, also for a replay.
    pub(crate) fn head(&self) -> Value {
        json!({"seq": self.seq.to_string(), "ts": self.ts.ms().to_string(), "replayed": self.replayed.is_some()})
    }
}

/// The phase error, with the phase as it is now.
pub(crate) fn phase_error(shared: &Shared, seq: Option<Seq>, nonce_consumed: bool) -> RpcError {
    let phase = shared.published.phase();
    RpcError::Phase(Box::new(PhaseData { phase, eta: shared.status.phase_eta(&phase), seq, nonce_consumed }))
}

fn shed_error(shared: &Shared, shed: Shed) -> RpcError {
    match shed {
        Shed::SafeMode => phase_error(shared, None, false),
        Shed::ShuttingDown => IngressError::ShuttingDown.into(),
    }
}

fn rejection(shared: &Shared, reject: Reject, nonce_consumed: bool, seq: Seq, replayed: bool) -> RpcError {
    match reject {
        Reject::PhaseForbids => phase_error(shared, Some(seq), nonce_consumed),
        reject => RpcError::Rejected { field: reject.field(), reject, nonce_consumed, seq, replayed, order: None },
    }
}

/// Adds two objects.
pub(crate) fn merge(mut a: Value, b: Value) -> Value {
    if let (Value::Object(a), Value::Object(b)) = (&mut a, b) {
        a.extend(b);
    }
    a
}

/// `trade_placeOrder`. `history`: fills of the order as the store knows them, for a replay.
pub(crate) fn placed(executed: &Executed, hash: MessageHash, history: &[FillRow]) -> Result<Value, RpcError> {
    let (state, reason, size, filled, quote_filled) = match &executed.replayed {
        Some(Outcome { result: OutcomeResult::Order { state, reason, size, filled, quote_filled }, .. }) => {
            (*state, *reason, *size, *filled, quote_filled.0)
        }
        Some(_) => return Err(RpcError::Internal),
        None => {
            let last = executed.events.iter().rev().find_map(|event| match event {
                Event::Order(update) if update.order == hash => Some(*update),
                _ => None,
            });
            let update = last.ok_or(RpcError::Internal)?;
            let quote: i128 = own_fills(&executed.events, hash).map(|(fill, _)| fill.price.notional(fill.size)).sum();
            (update.state, update.reason, update.size, update.filled, quote)
        }
    };
    let fills: Value = match executed.replayed {
        // Only those of the first execution; what matched the resting order later is in `trade_getOrder`.
        Some(Outcome { seq, .. }) => history.iter().filter(|row| row.seq == seq).map(fill_row).collect(),
        None => own_fills(&executed.events, hash)
            .map(|(fill, own)| fill_json(fill.trade, fill.price, fill.size, own.fee))
            .collect(),
    };
    let order = json!({
        "order": hash.to_string(),
        "state": state.as_str(),
        "reason": reason.as_str(),
        "size": size.to_string(),
        "filled": filled.to_string(),
        "remaining": Qty(size.0 - filled.0).to_string(),
        "quoteFilled": format_quantums(quote_filled),
        "fills": fills,
    });
    Ok(merge(executed.head(), order))
}

fn own_fills(events: &[Event], hash: MessageHash) -> impl Iterator<Item = (&Fill, &FillSide)> {
    events.iter().filter_map(move |event| match event {
        Event::Fill(fill) if fill.taker.order == hash => Some((fill, &fill.taker)),
        _ => None,
    })
}

fn fill_json(trade: TradeId, price: Price, size: Qty, fee: Amount) -> Value {
    json!({"tradeId": trade.to_string(), "price": price.to_string(), "size": size.to_string(), "fee": fee.to_string()})
}

/// A fill out of history.
pub(crate) fn fill_row(row: &FillRow) -> Value {
    fill_json(row.trade, row.price, row.size, row.party.fee)
}

/// `trade_cancelOrder` and `trade_cancelAll`: how many, and which.
pub(crate) fn cancelled(executed: &Executed) -> Result<Value, RpcError> {
    let count = match &executed.replayed {
        Some(Outcome { result: OutcomeResult::Cancelled { count }, .. }) => *count,
        Some(_) => return Err(RpcError::Internal),
        None => {
            let counted = executed.events.iter().find_map(|event| match event {
                Event::Cancelled { count, .. } => Some(*count),
                _ => None,
            });
            counted.ok_or(RpcError::Internal)?
        }
    };
    let whose = executed.events.iter().find_map(|event| match event {
        Event::Cancelled { account, .. } => Some(*account),
        _ => None,
    });
    let orders: Value = executed
        .events
        .iter()
        .filter_map(|event| match event {
            // What a cancel may set off at other accounts is not its answer.
            Event::Order(update) if Some(update.account) == whose => Some(update_json(update)),
            _ => None,
        })
        .collect();
    Ok(merge(executed.head(), json!({"count": count.to_string(), "orders": orders})))
}

/// `trade_restoreOrders`: what came of each order, in the order of the message; of a replay their number alone, history has the rest.
pub(crate) fn restored(executed: &Executed) -> Result<Value, RpcError> {
    let last = |order: MessageHash| {
        executed.events.iter().rev().find_map(|event| match event {
            Event::Order(update) if update.order == order => Some(update_json(update)),
            _ => None,
        })
    };
    let orders: Vec<Value> = executed
        .events
        .iter()
        .filter_map(|event| match event {
            Event::OrderRestored { order, restored, .. } => {
                Some(json!({"order": order.to_string(), "restored": last(*restored), "refused": null}))
            }
            Event::RestoreRefused { order, reject, .. } => {
                Some(json!({"order": order.to_string(), "restored": null, "refused": reject.as_str()}))
            }
            _ => None,
        })
        .collect();
    let (restored, refused) = match &executed.replayed {
        Some(Outcome { result: OutcomeResult::Restored { restored, refused }, .. }) => (*restored, *refused),
        Some(_) => return Err(RpcError::Internal),
        None if orders.is_empty() => return Err(RpcError::Internal),
        None => {
            let restored = orders.iter().filter(|order| order["refused"].is_null()).count() as u32;
            (restored, orders.len() as u32 - restored)
        }
    };
    let counts = json!({"restored": restored.to_string(), "refused": refused.to_string(), "orders": orders});
    Ok(merge(executed.head(), counts))
}

/// `trade_register`.
pub(crate) fn registered(executed: &Executed, account: Address) -> Result<Value, RpcError> {
    executed.expect(|event| matches!(event, Event::Registered { .. }), |result| result == OutcomeResult::Registered)?;
    Ok(merge(executed.head(), json!({"account": account.to_string()})))
}

/// `trade_addSessionKey` and `trade_revokeSessionKey`: in force from `seq` on.
pub(crate) fn session_key_changed(executed: &Executed, key: StarkKey) -> Result<Value, RpcError> {
    executed.expect(
        |event| matches!(event, Event::SessionKeySet { .. } | Event::SessionKeyRevoked { .. }),
        |result| matches!(result, OutcomeResult::SessionKeySet | OutcomeResult::SessionKeyRevoked),
    )?;
    Ok(merge(executed.head(), json!({"key": key.to_string()})))
}

/// `trade_scheduleCancel`: when the switch goes off, milliseconds; null when it was taken back.
pub(crate) fn scheduled(executed: &Executed) -> Result<Value, RpcError> {
    let at = match &executed.replayed {
        Some(Outcome { result: OutcomeResult::Scheduled { at }, .. }) => Some(*at),
        Some(_) => None,
        None => executed.events.iter().find_map(|event| match event {
            Event::CancelScheduled { at, .. } => Some(*at),
            _ => None,
        }),
    };
    let at = at.ok_or(RpcError::Internal)?;
    Ok(merge(executed.head(), json!({"at": (at != Ts(0)).then(|| at.ms().to_string())})))
}

/// `trade_transfer`: the message's hash, by which both accounts know it.
pub(crate) fn transferred(executed: &Executed, hash: MessageHash) -> Result<Value, RpcError> {
    executed.expect(|event| matches!(event, Event::Transferred { .. }), |result| result == OutcomeResult::Transferred)?;
    Ok(merge(executed.head(), json!({"hash": hash.to_string()})))
}

/// `trade_withdraw`: its id, by which `bridge_getWithdrawal` follows it.
pub(crate) fn withdrawn(executed: &Executed) -> Result<Value, RpcError> {
    let id = match &executed.replayed {
        Some(Outcome { result: OutcomeResult::Withdrawn { id }, .. }) => Some(*id),
        Some(_) => None,
        None => executed.events.iter().find_map(|event| match event {
            Event::Withdrawn(withdrawal) => Some(withdrawal.id),
            _ => None,
        }),
    };
    Ok(merge(executed.head(), json!({"id": id.ok_or(RpcError::Internal)?.to_string()})))
}

/// `market_publishPrices`: what each report came to. A report without an event was taken in and waits for its quorum.
pub(crate) fn priced(shared: &Shared, answer: Answer) -> Result<Value, RpcError> {
    let (seq, ts, events) = done(answer).map_err(|shed| shed_error(shared, shed))?;
    let name = |market: MarketId| shared.genesis.market(market).map_or("", |m| m.name.as_str());
    let (mut prices, mut held, mut discarded) = (Vec::new(), Vec::new(), Vec::new());
    for event in &events {
        match event {
            Event::Price { market, oracle, mark } => {
                prices.push(json!({"market": name(*market), "oracle": oracle.to_string(), "mark": mark.to_string()}))
            }
            Event::PriceHeld { market, median } => held.push(json!({"market": name(*market), "median": median.to_string()})),
            Event::ReportDiscarded { publisher, market, price, ts, reason } => discarded.push(json!({
                "publisher": publisher.to_string(), "market": name(*market), "price": price.to_string(),
                "ts": ts.ms().to_string(), "reason": reason.as_str(),
            })),
            _ => {}
        }
    }
    Ok(json!({
        "seq": seq.to_string(), "ts": ts.ms().to_string(),
        "prices": prices, "held": held, "discarded": discarded,
    }))
}

/// An order's transition without its market's name.
fn update_json(update: &OrderUpdate) -> Value {
    json!({
        "order": update.order.to_string(),
        "side": update.side.as_str(),
        "price": update.price.to_string(),
        "clientId": update.client_id.to_string(),
        "state": update.state.as_str(),
        "reason": update.reason.as_str(),
        "initiator": update.initiator.as_str(),
        "size": update.size.to_string(),
        "filled": update.filled.to_string(),
        "remaining": update.remaining().to_string(),
        "incident": (update.incident.0 != 0).then(|| update.incident.to_string()),
    })
}

/// An order as queries show it. `seq` and `ts` of its last change are null for an order that has not changed since this process
/// started.
pub(crate) fn order_json(genesis: &Genesis, order: &OrderView) -> Value {
    let update = &order.update;
    let more = json!({
        "account": update.account.to_string(),
        "market": genesis.market(update.market).map_or("", |m| m.name.as_str()),
        "seq": order.at.map(|(seq, _)| seq.to_string()),
        "ts": order.at.map(|(_, ts)| ts.ms().to_string()),
    });
    merge(update_json(update), more)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Address = Address(Felt::ONE);
    const ORDER: MessageHash = MessageHash(Felt::TWO);

    fn update(account: Address, state: OrderState, filled: u64) -> OrderUpdate {
        OrderUpdate {
            order: ORDER,
            account,
            market: MarketId(0),
            side: Side::Buy,
            price: Price(3_000 * QUANTUMS_PER_UNIT),
            client_id: 0,
            state,
            reason: Reason::Modified,
            initiator: Initiator::User,
            size: Qty(2 * QUANTUMS_PER_UNIT),
            filled: Qty(filled),
            incident: IncidentId(0),
        }
    }

    /// The command's answer when it is first executed, and when the identical message comes again.
    fn both(events: Vec<Event>, result: OutcomeResult) -> [Executed; 2] {
        let (seq, ts) = (Seq(7), Ts::from_ms(1_000));
        let replayed = Event::Replayed { account: ACCOUNT, hash: ORDER, outcome: Outcome { seq, ts, result } };
        [
            Executed { seq, ts, events, replayed: None },
            Executed { seq, ts, events: vec![replayed], replayed: Some(Outcome { seq, ts, result }) },
        ]
    }

    /// Both answers are the same but for `replayed`.
    fn check(answers: [Result<Value, RpcError>; 2], expected: Value) {
        let [first, mut again] = answers.map(|answer| answer.expect("a success"));
        assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
        again["replayed"] = json!(false);
        assert_eq!(first, again);
        assert_eq!(first, merge(json!({"seq": "7", "ts": "1000", "replayed": false}), expected));
    }

    #[test]
    fn every_new_outcome_is_answered_alike_the_second_time() {
        let (key, account) = (StarkKey(Felt::from(9)), ACCOUNT);
        let terms = SessionTerms { expiry: Ts(5), markets: vec![], max_order_notional: Amount(0) };
        let set = both(vec![Event::SessionKeySet { account, key, terms }], OutcomeResult::SessionKeySet);
        check(set.map(|e| session_key_changed(&e, key)), json!({"key": "0x9"}));
        let revoked = both(vec![Event::SessionKeyRevoked { account, key, seq: Seq(7) }], OutcomeResult::SessionKeyRevoked);
        check(revoked.map(|e| session_key_changed(&e, key)), json!({"key": "0x9"}));
        for (at, shown) in [(Ts::from_ms(90_000), json!("90000")), (Ts(0), Value::Null)] {
            let scheduled_ = both(vec![Event::CancelScheduled { account, at }], OutcomeResult::Scheduled { at });
            check(scheduled_.map(|e| scheduled(&e)), json!({"at": shown}));
        }
        let moved = Event::Transferred { account, recipient: ACCOUNT, asset: QUOTE, amount: Amount(1), hash: ORDER };
        check(both(vec![moved], OutcomeResult::Transferred).map(|e| transferred(&e, ORDER)), json!({"hash": "0x2"}));
        let registered_ = both(vec![Event::Registered { account, key, template: 0 }], OutcomeResult::Registered);
        check(registered_.map(|e| registered(&e, account)), json!({"account": "0x1"}));
        let changed = update(account, OrderState::PartiallyFilled, QUANTUMS_PER_UNIT);
        let result = OutcomeResult::Order {
            state: changed.state,
            reason: changed.reason,
            size: changed.size,
            filled: changed.filled,
            quote_filled: Amount(0),
        };
        check(
            both(vec![Event::Order(changed)], result).map(|e| placed(&e, ORDER, &[])),
            json!({
                "order": "0x2", "state": "PARTIALLY_FILLED", "reason": "MODIFIED", "size": "2", "filled": "1", "remaining": "1",
                "quoteFilled": "0", "fills": [],
            }),
        );
    }

    #[test]
    fn what_came_of_each_order_to_restore_is_told_once_and_counted_again() {
        let (account, new) = (ACCOUNT, MessageHash(Felt::from(22)));
        let ended = |order, state| OrderUpdate { order, ..update(account, state, 0) };
        let events = vec![
            Event::OrderRestored { account, hash: ORDER, incident: IncidentId(1), order: ORDER, restored: new },
            Event::Order(ended(new, OrderState::Open)),
            Event::RestoreRefused { account, hash: ORDER, order: new, reject: Reject::InsufficientMargin },
        ];
        let [first, again] = both(events, OutcomeResult::Restored { restored: 1, refused: 1 });
        let first = restored(&first).expect("a success");
        assert_eq!((&first["restored"], &first["refused"]), (&json!("1"), &json!("1")));
        assert_eq!(first["orders"][0]["restored"], update_json(&ended(new, OrderState::Open)));
        let refused = json!({"order": new.to_string(), "restored": null, "refused": "INSUFFICIENT_MARGIN"});
        assert_eq!((first["orders"].as_array().map(Vec::len), &first["orders"][1]), (Some(2), &refused));
        let again = restored(&again).expect("a success");
        assert_eq!((&again["restored"], &again["refused"], &again["orders"]), (&json!("1"), &json!("1"), &json!([])));
    }

    #[test]
    fn an_outcome_of_another_kind_is_a_fault_of_ours() {
        let [first, again] = both(vec![], OutcomeResult::SessionOpened);
        for executed in [first, again] {
            for answer in [
                scheduled(&executed),
                transferred(&executed, ORDER),
                session_key_changed(&executed, StarkKey::default()),
                registered(&executed, ACCOUNT),
                placed(&executed, ORDER, &[]),
                cancelled(&executed),
                withdrawn(&executed),
                restored(&executed),
            ] {
                assert_eq!(answer, Err(RpcError::Internal));
            }
        }
    }

    #[test]
    fn a_cancel_shows_the_accounts_own_orders_alone() {
        let other = Address(Felt::from(3));
        let events = vec![
            Event::Order(update(ACCOUNT, OrderState::Cancelled, 0)),
            Event::Order(update(other, OrderState::Cancelled, 0)),
            Event::Cancelled { account: ACCOUNT, hash: ORDER, count: 1 },
        ];
        let [first, _] = both(events, OutcomeResult::Cancelled { count: 1 });
        let answer = cancelled(&first).expect("a success");
        assert_eq!((&answer["count"], answer["orders"].as_array().map(Vec::len)), (&json!("1"), Some(1)));
    }
}
