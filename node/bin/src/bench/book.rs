use super::{median, mwl};
use anyhow::Result;
use keel_book::{Book, OrderHandle};
use keel_types::{Price, Qty, Side};
use std::path::Path;
use std::time::Instant;

/// What the workload format compares engines by.
#[derive(Default, PartialEq, Eq, Debug, Clone, Copy)]
struct Tally {
    trades: u64,
    volume: u64,
    hash: u64,
    acks: u64,
    rejects: u64,
}

impl Tally {
    fn trade(&mut self, maker: u64, taker: u64, price: u64, qty: u64) {
        self.trades += 1;
        self.volume += qty;
        let x = maker
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(taker.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add(price.wrapping_mul(0x1656_67B1_9E37_79F9))
            .wrapping_add(qty.wrapping_mul(0x27D4_EB2F_1656_67C5));
        self.hash = (self.hash ^ x).wrapping_mul(0x0000_0100_0000_01B3);
    }
}

/// A book with the index from order id to handle that a venue keeps beside it.
struct Driver {
    book: Book,
    /// Side and handle by order id; ids are dense.
    live: Vec<Option<(Side, OrderHandle)>>,
    tally: Tally,
}

impl Driver {
    fn place(&mut self, id: u64, side: Side, price: i64, qty: u32, rest: bool) {
        let Driver { book, live, tally } = self;
        let left = book.take(side, Price(price as u64), Qty(qty.into()), |m| {
            tally.trade(m.maker, id, m.price.0, m.qty.0);
            if m.maker_remaining.is_zero() {
                live[m.maker as usize] = None;
            }
        });
        if rest && !left.is_zero() {
            live[id as usize] = Some((side, book.insert(side, Price(price as u64), left, id)));
        }
    }

    fn apply(&mut self, command: &mwl::Command) {
        let side = if command.sell { Side::Sell } else { Side::Buy };
        let id = command.order_id;
        match command.op {
            mwl::Op::Gtc | mwl::Op::Ioc => {
                self.tally.acks += 1;
                self.place(id, side, command.price, command.qty, command.op == mwl::Op::Gtc);
            }
            mwl::Op::Cancel | mwl::Op::Modify => match self.live[id as usize].take() {
                None => self.tally.rejects += 1,
                Some((side, handle)) => {
                    self.tally.acks += 1;
                    self.book.remove(handle);
                    if command.op == mwl::Op::Modify {
                        self.place(id, side, command.price, command.qty, true);
                    }
                }
            },
        }
    }
}

/// Replays the workload `runs` times; every run must give the same trades.
pub fn run(path: &Path, runs: usize) -> Result<()> {
    let workload = mwl::read(path)?;
    anyhow::ensure!(workload.price_min > 0, "book bench: prices must be positive ticks");
    let (prefill, timed) = workload.commands.split_at(workload.prefill);
    let (mut rates, mut tally) = (vec![], None);
    for _ in 0..runs.max(1) {
        let live = vec![None; workload.order_id_max as usize + 1];
        let mut driver = Driver { book: Book::new(), live, tally: Tally::default() };
        prefill.iter().for_each(|c| driver.apply(c));
        let start = Instant::now();
        timed.iter().for_each(|c| driver.apply(c));
        rates.push(timed.len() as f64 / start.elapsed().as_secs_f64());
        anyhow::ensure!(tally.is_none_or(|t| t == driver.tally), "book bench: two runs differ");
        tally = Some(driver.tally);
    }
    let tally = tally.expect("at least one run");
    println!(
        "book: {:.2} M commands/s (median of {}), trades={} volume={} hash={:016x} acks={} rejects={}",
        median(rates) / 1e6,
        runs.max(1),
        tally.trades,
        tally.volume,
        tally.hash,
        tally.acks,
        tally.rejects
    );
    Ok(())
}
