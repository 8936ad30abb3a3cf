use super::engine::Flow;
use super::median;
use anyhow::{Context, Result};
use keel_types::*;
use std::time::Instant;

/// Mark updates measured; each moves the price by at most 0.05%.
const UPDATES: usize = 200;

/// Mark updates of one market in which every account has a position of its own size of collateral: time, and accounts visited.
pub fn run(positions: u64) -> Result<()> {
    let text = std::fs::read_to_string("genesis/dev.json").context("marks bench: read genesis/dev.json")?;
    let mut genesis = keel_contracts::genesis::load(&text)?;
    let market = genesis.markets.iter().position(|m| matches!(m.kind, MarketKind::Perpetual(_)));
    let market = MarketId(market.context("marks bench: the genesis has no perpetual")? as u16);
    // So many accounts need more open interest than a development chain allows.
    let mut imf_ppm = 0;
    if let MarketKind::Perpetual(perpetual) = &mut genesis.markets[usize::from(market.0)].kind {
        let large = Amount(MONEY_MAX / 4);
        (perpetual.open_interest_lower, perpetual.open_interest_upper) = (large, Amount(large.0 * 2));
        perpetual.open_interest_max = Qty(u64::MAX / 4);
        imf_ppm = i128::from(perpetual.imf_ppm);
    }
    let mut flow = Flow::new(&genesis);
    flow.open();
    let accounts: Vec<Address> = (0..positions).map(|n| flow.register(n)).collect();
    let spec = genesis.markets[usize::from(market.0)].clone();
    let lots =
        spec.notional_min.0 * i128::from(QUANTUMS_PER_UNIT) / i128::from(spec.initial_price.0) / i128::from(spec.lot_size.0)
            + 1;
    let size = Qty(lots as u64 * spec.lot_size.0);
    let notional = spec.initial_price.value_floor(i128::from(size.0));
    let mut price = i128::from(spec.initial_price.0);
    publish(&mut flow, market, price);
    let start = Instant::now();
    for (n, account) in accounts.iter().enumerate() {
        // From what a position needs at least, with its fees, to 40% of notional more.
        let above_ppm = 5_000 + i128::from(flow.random.below(400_000));
        let collateral = notional * (imf_ppm + above_ppm) / PPM;
        flow.deposit(*account, &genesis.assets[0], collateral / 100 * 100);
        let side = if n % 2 == 0 { Side::Sell } else { Side::Buy };
        let order = order(&mut flow, *account, market, side, size, spec.initial_price);
        flow.apply_after(1, order);
        if n % 5_000 == 4_999 {
            publish(&mut flow, market, price);
        }
    }
    let opened = start.elapsed();
    let holding = |account: &Address| flow.engine.account(account).map(|view| view.holdings.market(market).position.size);
    let held = accounts.iter().filter(|account| holding(account).is_some_and(|size| size != 0)).count();
    println!("marks: {held} open positions, opened in {:.1} s", opened.as_secs_f64());

    let start = Instant::now();
    let below = accounts.iter().filter(|a| flow.engine.account(a).is_some_and(|v| v.margin.value < v.margin.maintenance));
    let (below, all) = (below.count(), start.elapsed());
    println!("marks: visiting every account once takes {:.1} ms ({below} below maintenance)", all.as_secs_f64() * 1e3);

    let (mut micros, mut visited) = (vec![], vec![]);
    for _ in 0..UPDATES {
        let step = i128::from(flow.random.below(1_001)) - 500;
        price += price * step / 1_000_000;
        let before = flow.engine.accounts_visited();
        let reports = reports(&flow, market, price);
        let start = Instant::now();
        flow.apply(reports);
        micros.push(start.elapsed().as_secs_f64() * 1e6);
        visited.push((flow.engine.accounts_visited() - before) as f64);
    }
    let total: f64 = visited.iter().sum();
    println!(
        "marks: an update of at most 0.05% takes {:.0} us (median of {UPDATES}) and visits {:.0} accounts (median; {:.1} mean)",
        median(micros),
        median(visited),
        total / UPDATES as f64
    );
    for percent in [1, 3] {
        price -= price * percent / 100;
        let before = flow.engine.accounts_visited();
        let reports = reports(&flow, market, price);
        let start = Instant::now();
        flow.apply(reports);
        let took = start.elapsed();
        println!(
            "marks: a fall of {percent}% takes {:.2} ms and visits {} accounts",
            took.as_secs_f64() * 1e3,
            flow.engine.accounts_visited() - before
        );
    }
    anyhow::ensure!(flow.engine.check().is_empty(), "marks bench: an invariant does not hold");
    println!("marks: everybody below maintenance is known (checked by visiting all)");
    Ok(())
}

fn reports(flow: &Flow, market: MarketId, price: i128) -> Command {
    let ts = Ts(flow.engine.last_ts().0 + 2_000_000_000);
    let price = Price(price as u64);
    let publishers = 0..flow.genesis.oracle.publishers.len() as u8;
    Command::Prices(publishers.map(|publisher| PriceReport { publisher, market, price, ts }).collect())
}

fn publish(flow: &mut Flow, market: MarketId, price: i128) {
    let reports = reports(flow, market, price);
    flow.apply(reports);
}

fn order(flow: &mut Flow, account: Address, market: MarketId, side: Side, size: Qty, price: Price) -> Command {
    Command::Place(PlaceOrder {
        signed: flow.signed(account),
        market,
        side,
        order_type: OrderType::Limit,
        size,
        price,
        trigger_price: Price(0),
        time_in_force: TimeInForce::Gtc,
        good_til: Ts(0),
        reduce_only: false,
        self_trade: SelfTradeMode::CancelTaker,
        client_id: 0,
    })
}
