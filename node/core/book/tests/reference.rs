//! The book against a matcher too simple to be wrong: a list of orders, searched in full each time.

use keel_book::{Book, OrderHandle};
use keel_types::{Price, Qty, Side};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Match, rest the remainder.
    Gtc(Side, u64, u64),
    /// Match, drop the remainder.
    Ioc(Side, u64, u64),
    /// Of the n-th order ever placed.
    Cancel(usize),
    /// Remove and place again, with new time priority.
    Modify(usize, u64, u64),
    /// Everything at once.
    Clear,
}

/// (maker, taker, price, qty)
type Trade = (u64, u64, u64, u64);

trait Matcher {
    fn place(&mut self, id: u64, side: Side, price: u64, qty: u64, rests: bool, trades: &mut Vec<Trade>);
    /// Side of the order, when it was resting.
    fn cancel(&mut self, id: u64) -> Option<Side>;
    fn clear(&mut self);
    /// Orders of a side in priority order: (id, price, remaining).
    fn orders(&self, side: Side) -> Vec<(u64, u64, u64)>;
}

#[derive(Default)]
struct Naive {
    /// In time order: (id, side, price, remaining).
    orders: Vec<(u64, Side, u64, u64)>,
}

impl Naive {
    fn sorted(&self, side: Side) -> Vec<(u64, Side, u64, u64)> {
        let mut found: Vec<_> = self.orders.iter().copied().filter(|order| order.1 == side).collect();
        found.sort_by_key(|order| if side == Side::Buy { -(order.2 as i64) } else { order.2 as i64 });
        found
    }
}

impl Matcher for Naive {
    fn place(&mut self, id: u64, side: Side, price: u64, mut qty: u64, rests: bool, trades: &mut Vec<Trade>) {
        for maker in self.sorted(side.opposite()) {
            let crosses = if side == Side::Buy { price >= maker.2 } else { price <= maker.2 };
            if !crosses || qty == 0 {
                break;
            }
            let traded = qty.min(maker.3);
            qty -= traded;
            trades.push((maker.0, id, maker.2, traded));
            self.orders.iter_mut().find(|order| order.0 == maker.0).expect("listed").3 -= traded;
        }
        self.orders.retain(|order| order.3 > 0);
        if rests && qty > 0 {
            self.orders.push((id, side, price, qty));
        }
    }
    fn cancel(&mut self, id: u64) -> Option<Side> {
        let at = self.orders.iter().position(|order| order.0 == id)?;
        Some(self.orders.remove(at).1)
    }
    fn clear(&mut self) {
        self.orders.clear();
    }
    fn orders(&self, side: Side) -> Vec<(u64, u64, u64)> {
        self.sorted(side).into_iter().map(|order| (order.0, order.2, order.3)).collect()
    }
}

#[derive(Default)]
struct Real {
    book: Book,
    handles: BTreeMap<u64, OrderHandle>,
}

impl Matcher for Real {
    fn place(&mut self, id: u64, side: Side, price: u64, qty: u64, rests: bool, trades: &mut Vec<Trade>) {
        let left = self.book.take(side, Price(price), Qty(qty), |m| trades.push((m.maker, id, m.price.0, m.qty.0)));
        if rests && !left.is_zero() {
            self.handles.insert(id, self.book.insert(side, Price(price), left, id));
        }
    }
    fn cancel(&mut self, id: u64) -> Option<Side> {
        self.book.remove(*self.handles.get(&id)?).map(|order| order.side)
    }
    fn clear(&mut self) {
        // The handles are kept: later cancels try them all.
        self.book.clear();
    }
    fn orders(&self, side: Side) -> Vec<(u64, u64, u64)> {
        self.book.makers(side).map(|order| (order.key, order.price.0, order.remaining.0)).collect()
    }
}

fn run(matcher: &mut dyn Matcher, ops: &[Op]) -> Vec<Trade> {
    let mut trades = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        let id = i as u64;
        match *op {
            Op::Gtc(side, price, qty) => matcher.place(id, side, price, qty, true, &mut trades),
            Op::Ioc(side, price, qty) => matcher.place(id, side, price, qty, false, &mut trades),
            Op::Cancel(n) => {
                matcher.cancel((n % (i + 1)) as u64);
            }
            Op::Clear => matcher.clear(),
            Op::Modify(n, price, qty) => {
                let target = (n % (i + 1)) as u64;
                if let Some(side) = matcher.cancel(target) {
                    matcher.place(target, side, price, qty, true, &mut trades);
                }
            }
        }
    }
    trades
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let op = prop_oneof![
        60 => (side.clone(), 90u64..110, 1u64..20).prop_map(|(side, price, qty)| Op::Gtc(side, price, qty)),
        20 => (side, 90u64..110, 1u64..40).prop_map(|(side, price, qty)| Op::Ioc(side, price, qty)),
        30 => any::<usize>().prop_map(Op::Cancel),
        1 => Just(Op::Clear),
        20 => (any::<usize>(), 90u64..110, 1u64..20).prop_map(|(n, price, qty)| Op::Modify(n, price, qty)),
    ];
    proptest::collection::vec(op, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn trades_and_books_equal_the_naive_matcher(ops in ops()) {
        let (mut naive, mut real) = (Naive::default(), Real::default());
        prop_assert_eq!(run(&mut real, &ops), run(&mut naive, &ops));
        for side in [Side::Buy, Side::Sell] {
            prop_assert_eq!(real.orders(side), naive.orders(side));
            let mut rising: Vec<_> = real.book.orders_by_price(side).map(|o| (o.key, o.price.0, o.remaining.0)).collect();
            prop_assert!(rising.is_sorted_by_key(|order| order.1));
            // Same orders, same time order inside a price.
            if side == Side::Buy {
                rising.sort_by_key(|order| std::cmp::Reverse(order.1));
            }
            prop_assert_eq!(rising, naive.orders(side));
            let depth: u128 = real.book.depth(side).map(|level| level.qty).sum();
            prop_assert_eq!(depth, naive.orders(side).iter().map(|order| u128::from(order.2)).sum::<u128>());
        }
        prop_assert_eq!(real.book.len(), naive.orders.len());
        let (bid, ask) = (real.book.best_price(Side::Buy), real.book.best_price(Side::Sell));
        prop_assert!(bid.is_none() || ask.is_none() || bid < ask);
    }
}

#[test]
fn a_handle_is_stale_once_its_slot_is_reused() {
    let mut book = Book::new();
    let first = book.insert(Side::Buy, Price(100), Qty(1), 1);
    assert_eq!(book.remove(first).map(|order| order.key), Some(1));
    let second = book.insert(Side::Buy, Price(100), Qty(1), 2);
    assert_eq!(book.remove(first), None);
    assert_eq!(book.get(second).map(|order| order.key), Some(2));
}

#[test]
fn a_handle_is_stale_once_the_book_was_cleared() {
    let mut book = Book::new();
    let left = book.insert(Side::Buy, Price(99), Qty(1), 1);
    let handles = [book.insert(Side::Buy, Price(100), Qty(1), 2), book.insert(Side::Sell, Price(101), Qty(1), 3)];
    book.remove(left);
    book.clear();
    assert!(book.is_empty() && book.best_price(Side::Buy).is_none() && book.best_price(Side::Sell).is_none());
    let again = [4, 5, 6].map(|key| book.insert(Side::Sell, Price(100), Qty(1), key));
    assert_eq!([left, handles[0], handles[1]].map(|handle| book.get(handle)), [None; 3]);
    assert_eq!(again.map(|handle| book.get(handle).map(|order| order.key)), [4, 5, 6].map(Some));
}

#[test]
#[should_panic(expected = "filled more than rests")]
fn a_fill_larger_than_the_order_is_refused() {
    let mut book = Book::new();
    let handle = book.insert(Side::Buy, Price(100), Qty(1), 1);
    book.fill(handle, Qty(2));
}
