use super::check;
use expect_test::expect;

#[test]
fn each_bad_field_has_its_own_reject_and_nothing_changes() {
    check(
        "a buy 1 @ 99 nowhere
         a buy 1 @ 99 stop
         a buy 1 @ 99 fok
         a buy 1 @ 99 ro
         a buy 1 @ 99 trigger=90
         a buy 1 @ market post
         a buy 0 @ 99
         a buy 0.0001 @ 99
         a buy 10001 @ 99
         a buy 1 @ 0
         a buy 1 @ 99.001
         a buy 1 @ 10001
         a buy 0.01 @ 99
         a buy 10000 @ 101
         z buy 1 @ 99
         show a",
        expect![[r#"
            #1 a rejected: UNKNOWN_MARKET
            #2 a rejected: TRIGGER_PRICE_REQUIRED
            #3 a buy 1 @ 99 CANCELLED FILL_OR_KILL by ENGINE
            #4 a rejected: UNSUPPORTED_FLAG
            #5 a rejected: INCONSISTENT_FIELDS
            #6 a rejected: INCONSISTENT_FIELDS
            #7 a rejected: SIZE_ZERO
            #8 a rejected: OFF_LOT
            #9 a rejected: SIZE_TOO_LARGE
            #10 a rejected: PRICE_REQUIRED
            #11 a rejected: OFF_TICK
            #12 a rejected: PRICE_OUT_OF_RANGE
            #13 a rejected: NOTIONAL_TOO_SMALL
            #14 a rejected: NOTIONAL_TOO_LARGE
            #15 z rejected: UNKNOWN_ACCOUNT, nonce kept
            #16 a 10000 USDC 100 ETH"#]],
    );
}

#[test]
fn an_account_has_so_many_orders_in_a_market_and_no_more() {
    check(
        "a buy 1 @ 90 | a buy 1 @ 91 | a buy 1 @ 92 | a buy 1 @ 93 | a buy 1 @ 94 | a buy 1 @ 95 | a buy 1 @ 95 ioc
         a buy 1 @ 95 perp | a cancel 1 | a buy 1 @ 95",
        expect![[r#"
            #1 a buy 1 @ 90 OPEN
            #2 a buy 1 @ 91 OPEN
            #3 a buy 1 @ 92 OPEN
            #4 a buy 1 @ 93 OPEN
            #5 a buy 1 @ 94 OPEN
            #6 a rejected: TOO_MANY_ORDERS
            #7 a buy 1 @ 95 CANCELLED IOC_REMAINDER by ENGINE
            #8 a buy 1 @ 95 perp OPEN
            #9 a buy 1 @ 90 CANCELLED USER_CANCEL by USER
            #9 a cancelled 1
            #10 a buy 1 @ 95 OPEN"#]],
    );
}
