//! The margin rules twice: the table of `MARGIN.md`, worked by hand, and the formulas transcribed in exact rationals.

use keel_ledger::{
    Margin, MarginTerms, MarketHolding, OpenOrder, Reduction, accepts, fee_split, market_margin, open_loss, trade,
};
use keel_types::*;
use num_rational::BigRational as Rational;
use num_traits::{Signed, Zero};
use proptest::prelude::*;
use std::collections::BTreeMap;

const UNIT: i128 = QUANTUMS_PER_UNIT as i128;

fn quantums(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.trim_start_matches('+').split_once('.').unwrap_or((digits.trim_start_matches('+'), ""));
    let parse = |text: &str| text.parse::<i128>().unwrap_or_else(|_| panic!("a number: {text}"));
    sign * (parse(whole) * UNIT + parse(&format!("{fraction:0<8}")))
}

fn terms(name: &str, mark: Price) -> MarginTerms {
    let (imf_ppm, mmf_ppm, fee_ppm) = match name {
        "P" => (100_000, 50_000, 1_000),
        "Q" => (50_000, 25_000, 500),
        other => panic!("no market {other}"),
    };
    MarginTerms { mark, imf_ppm, mmf_ppm, fee_ppm, funding_index: 0 }
}

struct Order {
    market: String,
    side: Side,
    size: Qty,
    price: Price,
    fills: bool,
}

/// `P buy 5 @ 99 [rests|fills]`
fn order(text: &str) -> Order {
    let words: Vec<&str> = text.split_whitespace().collect();
    Order {
        market: words[0].into(),
        side: Side::parse(&words[1].to_uppercase()).expect("a side"),
        size: Qty(quantums(words[2]) as u64),
        price: Price(quantums(words[4]) as u64),
        fills: words.get(5) == Some(&"fills"),
    }
}

#[derive(Clone)]
struct Account {
    collateral: i128,
    holdings: BTreeMap<String, MarketHolding>,
    orders: Vec<(String, Side, Price, Qty)>,
}

impl Account {
    fn place(&mut self, order: &Order) {
        let holding = self.holdings.entry(order.market.clone()).or_default();
        holding.open(OpenOrder { side: order.side, price: order.price, reduce_only: false }, order.size);
        self.orders.push((order.market.clone(), order.side, order.price, order.size));
    }

    fn fill(&mut self, order: &Order, fee_ppm: i32) {
        let holding = self.holdings.entry(order.market.clone()).or_default();
        let change = trade(holding.position, 0, order.side, order.size, order.price);
        holding.position = change.after;
        self.collateral += change.realized - fee_split(order.price.notional(order.size), fee_ppm).charged;
    }

    fn margin(&self, marks: &BTreeMap<String, Price>) -> Margin {
        let mut margin = Margin::of_collateral(self.collateral);
        for (name, holding) in &self.holdings {
            let mark = marks[name];
            let of_market = self.orders.iter().filter(|(market, ..)| market == name);
            let loss = of_market.map(|(_, side, price, size)| open_loss(*side, *price, *size, mark)).sum();
            margin.add(market_margin(&terms(name, mark), holding, loss));
        }
        margin
    }
}

fn list(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// One row: its margin columns, then its verdict, computed.
fn check_row(cells: &[&str]) {
    let [case, collateral, positions, orders, marks, value, initial, maintenance, placed, verdict] = cells else {
        panic!("ten columns: {cells:?}")
    };
    let marks: BTreeMap<String, Price> = list(marks)
        .map(|text| text.split_once(' ').expect("market and mark"))
        .map(|(name, mark)| (name.to_string(), Price(quantums(mark) as u64)))
        .collect();
    let mut account = Account { collateral: quantums(collateral), holdings: BTreeMap::new(), orders: vec![] };
    for text in list(positions) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (size, price) = (quantums(words[1]), quantums(words[3]));
        let position = PositionValue { size, cost: size * price / UNIT, funding_index: 0 };
        account.holdings.insert(words[0].into(), MarketHolding::of_position(position));
    }
    list(orders).for_each(|text| account.place(&order(text)));
    let before = account.margin(&marks);
    let columns = (before.value, before.initial, before.maintenance);
    assert_eq!(columns, (quantums(value), quantums(initial), quantums(maintenance)), "{case}");

    let order = order(placed);
    let fee_ppm = terms(&order.market, marks[&order.market]).fee_ppm;
    let mut filled = account.clone();
    filled.fill(&order, fee_ppm);
    let position = account.holdings.get(&order.market).copied().unwrap_or_default();
    let only_reduces = i128::from(order.size.0) <= position.reducible(order.side);
    let full_close = filled.holdings[&order.market].position.size == 0;
    let reduction = only_reduces.then(|| Reduction { filled: filled.margin(&marks), full_close });
    if order.fills {
        account = filled
    } else {
        account.place(&order)
    }
    let after = account.margin(&marks);
    let found = if after.covers_initial() {
        "accepted by 1"
    } else if accepts(&before, &after, order.fills, None) {
        "accepted by 2"
    } else if accepts(&before, &after, order.fills, reduction) {
        "accepted by 3"
    } else {
        "refused"
    };
    assert_eq!(found, *verdict, "{case}: {after:?}");
}

#[test]
fn the_table_worked_by_hand_is_what_the_ledger_computes() {
    let table = include_str!("../MARGIN.md").lines().filter(|line| line.starts_with("| ")).skip(1);
    let rows: Vec<Vec<&str>> = table.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert_eq!(rows.len(), 17, "rows of the table");
    rows.iter().for_each(|row| check_row(row));
}

/// An open order, as a portfolio is made of them.
#[derive(Clone, Copy, Debug)]
struct Resting {
    buy: bool,
    price: u64,
    lots: u64,
}

#[derive(Clone, Debug)]
struct Holding {
    size: i128,
    cost: i128,
    entry: i128,
    index: i128,
    mark: u64,
    imf_ppm: u32,
    mmf_ppm: u32,
    fee_ppm: i32,
    orders: Vec<Resting>,
}

fn holding() -> impl Strategy<Value = Holding> {
    let resting = (any::<bool>(), 1u64..1_000_000_000_000, 1u64..1_000_000_000).prop_map(|(buy, price, lots)| Resting {
        buy,
        price,
        lots,
    });
    (
        (-1_000_000_000_000i128..1_000_000_000_000, -1_000_000_000_000_000i128..1_000_000_000_000_000),
        (-1_000_000_000i128..1_000_000_000, -1_000_000_000i128..1_000_000_000, 1u64..1_000_000_000_000),
        (1u32..1_000_000, 0u32..500_000, 0i32..2_000),
        proptest::collection::vec(resting, 0..6),
    )
        .prop_map(|((size, cost), (entry, index, mark), (imf_ppm, mmf_ppm, fee_ppm), orders)| Holding {
            size,
            cost: if size == 0 { 0 } else { cost },
            entry,
            index,
            mark,
            imf_ppm,
            mmf_ppm,
            fee_ppm,
            orders,
        })
}

/// The specification's lines, word for word: (unrealised with funding, IMR, MMR) in quote quantums.
fn transcribed(h: &Holding) -> (Rational, Rational, Rational) {
    let r = |n: i128| Rational::from_integer(n.into());
    let unit = r(UNIT);
    let (pos, mark) = (r(h.size) / &unit, r(i128::from(h.mark)));
    let sum = |buy: bool| {
        let sizes = h.orders.iter().filter(|o| o.buy == buy).map(|o| r(i128::from(o.lots)) / &unit);
        sizes.fold(Rational::zero(), |a, b| a + b)
    };
    let (b, s) = (sum(true), sum(false));
    let max = |a: Rational, b: Rational| if a > b { a } else { b };
    let open = max(max(Rational::zero(), &b + &pos), max(Rational::zero(), &s - &pos));
    let fraction = |ppm: i128| r(ppm) / r(PPM);
    let (imf, mmf, fee_rate) = (fraction(h.imf_ppm.into()), fraction(h.mmf_ppm.into()), fraction(h.fee_ppm.into()));
    let open_losses = h.orders.iter().map(|o| {
        let (price, size) = (r(i128::from(o.price)), r(i128::from(o.lots)) / &unit);
        let gap = if o.buy { price - &mark } else { &mark - price };
        max(Rational::zero(), gap) * size
    });
    let open_loss = open_losses.fold(Rational::zero(), |a, b| a + b);
    let imr = &open * &mark * &imf + &fee_rate * &open * &mark + open_loss;
    let mmr = pos.abs() * &mark * &mmf + &fee_rate * pos.abs() * &mark;
    let funding = -&pos * (r(h.index) - r(h.entry));
    (&pos * &mark - r(h.cost) + funding, imr, mmr)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    /// Value is rounded down and requirements up, by less than the roundings there are: two each (three for IMR).
    #[test]
    fn the_ledger_is_the_formulas_in_exact_rationals(portfolio in proptest::collection::vec(holding(), 1..5), collateral in -1_000_000_000_000i128..1_000_000_000_000_000) {
        let mut margin = Margin::of_collateral(collateral);
        let (mut value, mut initial, mut maintenance) =
            (Rational::from_integer(collateral.into()), Rational::zero(), Rational::zero());
        for h in &portfolio {
            let mut holding = MarketHolding::of_position(PositionValue { size: h.size, cost: h.cost, funding_index: h.entry });
            let mark = Price(h.mark);
            let mut loss = 0;
            for o in &h.orders {
                let (side, price, size) = (if o.buy { Side::Buy } else { Side::Sell }, Price(o.price), Qty(o.lots));
                holding.open(OpenOrder { side, price, reduce_only: false }, size);
                loss += open_loss(side, price, size, mark);
            }
            let terms = MarginTerms { mark, imf_ppm: h.imf_ppm, mmf_ppm: h.mmf_ppm, fee_ppm: h.fee_ppm, funding_index: h.index };
            margin.add(market_margin(&terms, &holding, loss));
            let (unrealized, imr, mmr) = transcribed(h);
            value += unrealized;
            initial += imr;
            maintenance += mmr;
        }
        let markets = portfolio.len() as i128;
        let below = |computed: i128, exact: &Rational, roundings: i128| {
            let off = exact - Rational::from_integer(computed.into());
            !off.is_negative() && off < Rational::from_integer((roundings * markets).into())
        };
        prop_assert!(below(margin.value, &value, 2), "AV {} for {value}", margin.value);
        prop_assert!(below(-margin.initial, &-initial.clone(), 3), "IMR {} for {initial}", margin.initial);
        prop_assert!(below(-margin.maintenance, &-maintenance.clone(), 2), "MMR {} for {maintenance}", margin.maintenance);
        // And so is what hangs on them, wherever the roundings cannot decide.
        let gap = &value - &initial;
        if gap.abs() >= Rational::from_integer((5 * markets).into()) {
            prop_assert_eq!(margin.covers_initial(), !gap.is_negative());
        }
    }
}
