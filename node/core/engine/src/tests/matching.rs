use super::check;
use expect_test::expect;

#[test]
fn takers_trade_at_the_makers_price() {
    check(
        "a sell 5 @ 101 | b buy 3 @ 102 | show spot",
        expect![[r#"
        #1 a sell 5 @ 101 OPEN
        #2 fill 1 3 @ 101: maker a fee 0.0303, taker b fee 0.1515
        #2 a sell 5 @ 101 PARTIALLY_FILLED 3/5
        #2 b buy 3 @ 102 FILLED
        #3 bids [] asks [2@101]"#]],
    );
}

#[test]
fn price_goes_before_time_and_time_before_size() {
    check(
        "a sell 1 @ 102 | b sell 9 @ 101 | c sell 1 @ 101 | d buy 11 @ 102",
        expect![[r#"
        #1 a sell 1 @ 102 OPEN
        #2 b sell 9 @ 101 OPEN
        #3 c sell 1 @ 101 OPEN
        #4 fill 1 9 @ 101: maker b fee 0.0909, taker d fee 0.4545
        #4 b sell 9 @ 101 FILLED
        #4 fill 2 1 @ 101: maker c fee 0.0101, taker d fee 0.0505
        #4 c sell 1 @ 101 FILLED
        #4 fill 3 1 @ 102: maker a fee 0.0102, taker d fee 0.051
        #4 a sell 1 @ 102 FILLED
        #4 d buy 11 @ 102 FILLED"#]],
    );
}

#[test]
fn what_is_left_of_gtc_rests_and_of_ioc_does_not() {
    check(
        "a sell 2 @ 101 | b buy 5 @ 101 | show spot | c sell 7 @ 101 ioc | show spot | d buy 1 @ 99 ioc",
        expect![[r#"
            #1 a sell 2 @ 101 OPEN
            #2 fill 1 2 @ 101: maker a fee 0.0202, taker b fee 0.101
            #2 a sell 2 @ 101 FILLED
            #2 b buy 5 @ 101 PARTIALLY_FILLED 2/5
            #3 bids [3@101] asks []
            #4 fill 2 3 @ 101: maker b fee 0.0303, taker c fee 0.1515
            #4 b buy 5 @ 101 FILLED
            #4 c sell 7 @ 101 CANCELLED 3/7 IOC_REMAINDER by ENGINE
            #5 bids [] asks []
            #6 d buy 1 @ 99 CANCELLED IOC_REMAINDER by ENGINE"#]],
    );
}

#[test]
fn post_only_that_would_cross_is_rejected_and_not_repriced() {
    check(
        "a sell 2 @ 101 | b buy 5 @ 101 post | b buy 5 @ 100.99 post | show spot",
        expect![[r#"
        #1 a sell 2 @ 101 OPEN
        #2 b rejected: POST_ONLY_WOULD_CROSS
        #3 b buy 5 @ 100.99 OPEN
        #4 bids [5@100.99] asks [2@101]"#]],
    );
}

#[test]
fn a_market_order_takes_to_its_worst_price_or_the_band_edge() {
    check(
        "a sell 1 @ 101 | a sell 1 @ 105 | a sell 1 @ 111 | b buy 9 @ market 103 | b buy 9 @ market | show spot
         c sell 1 @ market",
        expect![[r#"
            #1 a sell 1 @ 101 OPEN
            #2 a sell 1 @ 105 OPEN
            #3 a sell 1 @ 111 OPEN
            #4 fill 1 1 @ 101: maker a fee 0.0101, taker b fee 0.0505
            #4 a sell 1 @ 101 FILLED
            #4 b buy 9 @ 103 CANCELLED 1/9 IOC_REMAINDER by ENGINE
            #5 fill 2 1 @ 105: maker a fee 0.0105, taker b fee 0.0525
            #5 a sell 1 @ 105 FILLED
            #5 b buy 9 @ 110 CANCELLED 1/9 PRICE_BAND by ENGINE
            #6 bids [] asks [1@111]
            #7 c sell 1 @ 90 CANCELLED IOC_REMAINDER by ENGINE"#]],
    );
}

#[test]
fn a_self_trade_ends_who_the_taker_says_with_an_event_for_both() {
    check(
        "a sell 1 @ 100 | b sell 1 @ 101 | a buy 2 @ 101 | show spot",
        expect![[r#"
        #1 a sell 1 @ 100 OPEN
        #2 b sell 1 @ 101 OPEN
        #3 a sell 1 @ 100 OPEN SELF_TRADE by ENGINE
        #3 a buy 2 @ 101 CANCELLED SELF_TRADE by ENGINE
        #4 bids [] asks [1@100 1@101]"#]],
    );
    check(
        "a sell 1 @ 100 | b sell 1 @ 101 | a buy 2 @ 101 stp=maker | show spot",
        expect![[r#"
        #1 a sell 1 @ 100 OPEN
        #2 b sell 1 @ 101 OPEN
        #3 a sell 1 @ 100 CANCELLED SELF_TRADE by ENGINE
        #3 a buy 2 @ 101 RECEIVED SELF_TRADE by ENGINE
        #3 fill 1 1 @ 101: maker b fee 0.0101, taker a fee 0.0505
        #3 b sell 1 @ 101 FILLED
        #3 a buy 2 @ 101 PARTIALLY_FILLED 1/2
        #4 bids [1@101] asks []"#]],
    );
    check(
        "b sell 1 @ 100 | a sell 1 @ 101 | a buy 3 @ 101 stp=both | show spot",
        expect![[r#"
        #1 b sell 1 @ 100 OPEN
        #2 a sell 1 @ 101 OPEN
        #3 fill 1 1 @ 100: maker b fee 0.01, taker a fee 0.05
        #3 b sell 1 @ 100 FILLED
        #3 a sell 1 @ 101 CANCELLED SELF_TRADE by ENGINE
        #3 a buy 3 @ 101 CANCELLED 1/3 SELF_TRADE by ENGINE
        #4 bids [] asks []"#]],
    );
}

#[test]
fn nothing_trades_or_rests_beyond_the_band() {
    // Edges are 110 and 90.
    check(
        "a sell 1 @ 110 | a sell 1 @ 110.01 | b buy 3 @ 112 | show spot",
        expect![[r#"
        #1 a sell 1 @ 110 OPEN
        #2 a sell 1 @ 110.01 OPEN
        #3 fill 1 1 @ 110: maker a fee 0.011, taker b fee 0.055
        #3 a sell 1 @ 110 FILLED
        #3 b buy 3 @ 112 CANCELLED 1/3 PRICE_BAND by ENGINE
        #4 bids [] asks [1@110.01]"#]],
    );
    check(
        "b buy 3 @ 112 | b buy 1 @ 112 ioc | b buy 1 @ 110 | show spot",
        expect![[r#"
        #1 b buy 3 @ 112 CANCELLED PRICE_BAND by ENGINE
        #2 b buy 1 @ 112 CANCELLED IOC_REMAINDER by ENGINE
        #3 b buy 1 @ 110 OPEN
        #4 bids [1@110] asks []"#]],
    );
    check(
        "a buy 1 @ 89 | b sell 1 @ 89 | b sell 1 @ 95",
        expect![[r#"
        #1 a buy 1 @ 89 OPEN
        #2 b sell 1 @ 89 CANCELLED PRICE_BAND by ENGINE
        #3 b sell 1 @ 95 OPEN"#]],
    );
}

#[test]
fn a_better_price_than_the_band_is_not_refused() {
    // Passive far from mark is allowed: a post-only buy at 115 with nobody to sell; the seller gets 115.
    check(
        "a buy 1 @ 115 post | b sell 1 @ 100",
        expect![[r#"
        #1 a buy 1 @ 115 OPEN
        #2 fill 1 1 @ 115: maker a fee 0.0115, taker b fee 0.0575
        #2 a buy 1 @ 115 FILLED
        #2 b sell 1 @ 100 FILLED"#]],
    );
}

#[test]
fn a_command_makes_no_more_fills_than_its_limit() {
    check(
        "a sell 1 @ 101 | a sell 1 @ 101 | b sell 1 @ 101 | b sell 1 @ 101 | c buy 5 @ 101 | show spot | c buy 1 @ 100.5",
        expect![[r#"
            #1 a sell 1 @ 101 OPEN
            #2 a sell 1 @ 101 OPEN
            #3 b sell 1 @ 101 OPEN
            #4 b sell 1 @ 101 OPEN
            #5 fill 1 1 @ 101: maker a fee 0.0101, taker c fee 0.0505
            #5 a sell 1 @ 101 FILLED
            #5 fill 2 1 @ 101: maker a fee 0.0101, taker c fee 0.0505
            #5 a sell 1 @ 101 FILLED
            #5 fill 3 1 @ 101: maker b fee 0.0101, taker c fee 0.0505
            #5 b sell 1 @ 101 FILLED
            #5 c buy 5 @ 101 CANCELLED 3/5 FILL_LIMIT by ENGINE
            #6 bids [] asks [1@101]
            #7 c buy 1 @ 100.5 OPEN"#]],
    );
}

#[test]
fn cancels_find_orders_by_hash_and_by_client_id() {
    check(
        "a buy 1 @ 90 cid=7 | a buy 1 @ 91 | a buy 1 @ 92 cid=7 | a cancel cid 7 | a buy 1 @ 92 cid=7 | a cancel 2 | show spot
         a cancel 2 | a cancel 99 | b cancel 5 | a cancel cid 8",
        expect![[r#"
            #1 a buy 1 @ 90 OPEN
            #2 a buy 1 @ 91 OPEN
            #3 a rejected: DUPLICATE_CLIENT_ID
            #4 a buy 1 @ 90 CANCELLED USER_CANCEL by USER
            #4 a cancelled 1
            #5 a buy 1 @ 92 OPEN
            #6 a buy 1 @ 91 CANCELLED USER_CANCEL by USER
            #6 a cancelled 1
            #7 bids [1@92] asks []
            #8 a rejected: ORDER_NOT_OPEN
            #9 a rejected: UNKNOWN_ORDER
            #10 b rejected: UNKNOWN_ORDER
            #11 a rejected: UNKNOWN_ORDER"#]],
    );
}

#[test]
fn cancel_all_goes_by_market_side_price_and_time() {
    check(
        "a buy 1 @ 99 | a buy 2 @ 98 perp | a sell 1 @ 103 | a sell 2 @ 102 | a buy 1 @ 98 | a buy 2 @ 98 | a cancel all perp
         a cancel all | a cancel all",
        expect![[r#"
            #1 a buy 1 @ 99 OPEN
            #2 a buy 2 @ 98 perp OPEN
            #3 a sell 1 @ 103 OPEN
            #4 a sell 2 @ 102 OPEN
            #5 a buy 1 @ 98 OPEN
            #6 a buy 2 @ 98 OPEN
            #7 a buy 2 @ 98 perp CANCELLED USER_CANCEL_ALL by USER
            #7 a cancelled 1
            #8 a buy 1 @ 98 CANCELLED USER_CANCEL_ALL by USER
            #8 a buy 2 @ 98 CANCELLED USER_CANCEL_ALL by USER
            #8 a buy 1 @ 99 CANCELLED USER_CANCEL_ALL by USER
            #8 a sell 2 @ 102 CANCELLED USER_CANCEL_ALL by USER
            #8 a sell 1 @ 103 CANCELLED USER_CANCEL_ALL by USER
            #8 a cancelled 5
            #9 a cancelled 0"#]],
    );
}
