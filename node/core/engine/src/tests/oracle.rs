use super::check;
use super::script::check_in;
use super::world::{World, genesis};
use expect_test::expect;

#[test]
fn a_price_needs_a_quorum_of_fresh_reports_and_is_their_median() {
    check_in(
        World::bare(genesis()),
        "report 0 perp 101 | report 1 perp 103 | report 2 perp 99 | wait 3s | report 0 perp 104 | wait 3s | report 0 perp 102
         report 1 perp 102",
        expect![[r#"
            #2 price of 1 102
            #3 price of 1 101
            #5 price of 1 103
            #8 price of 1 102"#]],
    );
}

#[test]
fn bad_reports_are_discarded_for_good() {
    check(
        "wait 1s | report 0 perp 0 | report 0 perp 101 +1.001s | report 0 perp 101 +1s | report 0 perp 102 +0.5s | report 9 perp 101
         report 0 nowhere 101 | report 0 perp 10000.01 | report 1 perp 0 | report 2 perp 0 | report 1 perp 0",
        expect![[r#"
            #2 report of 0 discarded: NOT_POSITIVE
            #3 report of 0 discarded: FROM_THE_FUTURE
            #4 price of 1 100.5
            #5 report of 0 discarded: NOT_NEWER
            #6 report of 9 discarded: UNKNOWN_PUBLISHER
            #7 report of 0 discarded: UNKNOWN_MARKET
            #8 report of 0 discarded: ABOVE_MAXIMUM
            #9 report of 1 discarded: NOT_POSITIVE
            #10 report of 2 discarded: NOT_POSITIVE
            #11 report of 1 discarded: NOT_POSITIVE"#]],
    );
}

#[test]
fn zero_never_becomes_a_price() {
    let rounds = "report 0 perp 0 | report 1 perp 0 | report 2 perp 0 | wait 1s |".repeat(4);
    check(
        &(rounds + "price perp 101"),
        expect![[r#"
        #1 report of 0 discarded: NOT_POSITIVE
        #2 report of 1 discarded: NOT_POSITIVE
        #3 report of 2 discarded: NOT_POSITIVE
        #5 report of 0 discarded: NOT_POSITIVE
        #6 report of 1 discarded: NOT_POSITIVE
        #7 report of 2 discarded: NOT_POSITIVE
        #9 report of 0 discarded: NOT_POSITIVE
        #10 report of 1 discarded: NOT_POSITIVE
        #11 report of 2 discarded: NOT_POSITIVE
        #13 report of 0 discarded: NOT_POSITIVE
        #14 report of 1 discarded: NOT_POSITIVE
        #15 report of 2 discarded: NOT_POSITIVE
        #17 price of 1 101"#]],
    );
}

#[test]
fn a_large_move_is_held_until_two_newer_medians_agree() {
    check(
        "wait 1s | price perp 106 | a buy 1 @ 99 perp | a buy 1 @ 99 perp ioc | a buy 1 @ 99 perp post
         wait 0.5s | price perp 106 | wait 0.5s | price perp 107 | wait 1s | price perp 105.5 | a buy 1 @ 99 perp ioc",
        expect![[r#"
            #2 held 1 at 106
            #3 a rejected: MARKET_HELD
            #4 a rejected: MARKET_HELD
            #5 a buy 1 @ 99 perp OPEN
            #11 price of 1 105.5
            #12 a buy 1 @ 99 perp CANCELLED IOC_REMAINDER by ENGINE"#]],
    );
}

#[test]
fn a_hold_ends_when_the_price_comes_back_and_moves_when_it_goes_elsewhere() {
    check(
        "wait 1s | price perp 106 | wait 1s | price perp 101",
        expect![[r#"
        #2 held 1 at 106
        #4 price of 1 101"#]],
    );
    check(
        "wait 1s | price perp 106 | wait 1s | price perp 106 | wait 1s | price perp 120 | wait 1s | price perp 120 | wait 1s | price perp 121",
        expect![[r#"
            #2 held 1 at 106
            #6 held 1 at 120
            #10 price of 1 121"#]],
    );
}

#[test]
fn a_stale_market_is_post_only_and_its_positions_hold_their_accounts_back() {
    check(
        "a buy 10 @ 100 perp | b sell 10 @ 100 perp | b buy 1 @ 90 btc | wait 9s | price spot 100 | price btc 100
         wait 2s | c buy 1 @ 99 perp | c buy 1 @ 99 perp post | a sell 1 @ 100 perp post
         a buy 1 @ 99 btc | a buy 1 @ 99 | a sell 1 @ 105 | a withdraw 1 USDC | a withdraw 1 ETH | c withdraw 1 USDC
         c sell 1 @ 90 btc | price perp 100 | a withdraw 1 USDC",
        expect![[r#"
            #1 a buy 10 @ 100 perp OPEN
            #2 fill 1 10 @ 100: maker a fee 0.2, taker b fee 0.5
            #2 a buy 10 @ 100 perp FILLED
            #2 b sell 10 @ 100 perp FILLED
            #3 b buy 1 @ 90 btc OPEN
            #5 price of 0 100
            #6 price of 2 100
            #8 c rejected: MARKET_HELD
            #9 c buy 1 @ 99 perp OPEN
            #10 a sell 1 @ 100 perp OPEN
            #11 a rejected: MARKET_HELD
            #12 a rejected: MARKET_HELD
            #13 a sell 1 @ 105 OPEN
            #14 a rejected: MARKET_HELD
            #15 a rejected: MARKET_HELD
            #16 c withdrew 1 as 1000000 units, id 1
            #17 b buy 1 @ 90 btc CANCELLED MARGIN by RISK
            #17 c sell 1 @ 90 btc OPEN
            #18 price of 1 100
            #19 a withdrew 1 as 1000000 units, id 2"#]],
    );
}

#[test]
fn an_unchanged_price_is_written_once_a_second() {
    check(
        "price perp 100 | wait 0.9s | price perp 100 | wait 0.1s | price perp 100 | wait 0.1s | price perp 101",
        expect![[r#"
            #5 price of 1 100
            #7 price of 1 101"#]],
    );
}
