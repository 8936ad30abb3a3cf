//! The class that stands at the exchange address of a Keel chain: the storage layout of all chain state, the handler of
//! deposits, the calls of the operator, and views.
//!
//! Trades are executed natively by the node, which writes exactly the storage this class describes; the operator's calls
//! are what its transactions carry. `settle_fills` takes the resulting words; the other calls compute their effect here.

#[starknet::contract]
mod exchange {
    use array::{ArrayTrait, SpanTrait};
    use box::BoxTrait;
    use option::OptionTrait;
    use traits::{Into, TryInto};
    use starknet::{
        ContractAddress, get_caller_address, get_tx_info,
        send_message_to_l1_syscall
    };
    use keel::interface::{
        AssetParameters, BalanceUpdate, Fill, FundingUpdate, IOperator, IViews, MarketParameters,
        PositionUpdate, PriceUpdate
    };
    use keel::layout::{
        Account, Asset, Count, Funding, Incident, Market, PhaseState, Position, Price, Rules,
        SessionKey, Signed, SignedPacking, Totals, Word
    };

    /// Version of the layout and of every record in it.
    const VERSION: felt252 = 1;
    /// 2^251 - 256: every contract's address is below it.
    const ADDRESS_BOUND: u256 = 0x7ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff00;
    const KIND_PERPETUAL: u8 = 2;
    const PHASE_HALTED: u128 = 0;
    const PHASE_OPEN: u8 = 4;
    /// Cancel root of an incident that cancelled nothing.
    const NO_CANCEL_ROOT: felt252 = 'NONE';

    #[storage]
    struct Storage {
        version: felt252,
        rules: Rules,
        /// Stark keys of the price publishers, by index.
        publishers: LegacyMap::<u8, Word>,
        asset_count: Count,
        assets: LegacyMap::<u16, Asset>,
        market_count: Count,
        markets: LegacyMap::<u16, Market>,
        accounts: LegacyMap::<ContractAddress, Account>,
        session_keys: LegacyMap::<(ContractAddress, felt252), SessionKey>,
        /// (account, key, index) -> market.
        session_markets: LegacyMap::<(ContractAddress, felt252, u16), Count>,
        /// Signed words, kept raw because an account that never held the asset rightly has none.
        balances: LegacyMap::<(ContractAddress, u16), felt252>,
        positions: LegacyMap::<(ContractAddress, u16), Position>,
        funding: LegacyMap::<u16, Funding>,
        prices: LegacyMap::<u16, Price>,
        /// Everything ever deposited and withdrawn of an asset.
        totals: LegacyMap::<u16, Totals>,
        /// Nonce of a message of the settlement layer -> VERSION; absent = not consumed.
        messages_consumed: LegacyMap::<u64, felt252>,
        /// The last withdrawal's number.
        withdrawal_count: Count,
        phase: PhaseState,
        incidents: LegacyMap::<u32, Incident>,
    }

    #[event]
    #[derive(Drop, starknet::Event)]
    enum Event {
        Trade: Trade,
        Registered: Registered,
        SessionKeySet: SessionKeySet,
        SessionKeyRevoked: SessionKeyRevoked,
        Deposited: Deposited,
        Withdrawn: Withdrawn,
        Transferred: Transferred,
        PriceSet: PriceSet,
        FundingSet: FundingSet,
        PhaseChanged: PhaseChanged,
        SafeModeEntered: SafeModeEntered,
        AssetListed: AssetListed,
        MarketListed: MarketListed,
    }

    #[derive(Drop, starknet::Event)]
    struct Trade {
        #[key]
        market: u16,
        #[key]
        maker: ContractAddress,
        #[key]
        taker: ContractAddress,
        trade: u64,
        price: u64,
        size: u64,
        taker_side: u8,
        maker_order: felt252,
        maker_fee: felt252,
        maker_pnl: felt252,
        taker_order: felt252,
        taker_fee: felt252,
        taker_pnl: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct Registered {
        #[key]
        account: ContractAddress,
        public_key: felt252,
        template: u8,
    }

    #[derive(Drop, starknet::Event)]
    struct SessionKeySet {
        #[key]
        account: ContractAddress,
        public_key: felt252,
        expiry: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct SessionKeyRevoked {
        #[key]
        account: ContractAddress,
        public_key: felt252,
        seq: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct Deposited {
        #[key]
        account: ContractAddress,
        #[key]
        asset: u16,
        amount: u128,
        message_nonce: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct Withdrawn {
        #[key]
        account: ContractAddress,
        #[key]
        asset: u16,
        amount: u128,
        recipient: felt252,
        withdrawal: u64,
        message_hash: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct Transferred {
        #[key]
        sender: ContractAddress,
        #[key]
        recipient: ContractAddress,
        asset: u16,
        amount: u128,
        message_hash: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct PriceSet {
        #[key]
        market: u16,
        oracle: u64,
        mark: u64,
        ts: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct FundingSet {
        #[key]
        market: u16,
        index: felt252,
        pool: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct PhaseChanged {
        #[key]
        incident: u32,
        phase: u8,
        since: u64,
    }

    #[derive(Drop, starknet::Event)]
    struct SafeModeEntered {
        #[key]
        incident: u32,
        reasons: u32,
        observed_ts: u64,
        seq: u64,
        cancelled: u32,
        cancel_root: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct AssetListed {
        #[key]
        asset: u16,
        symbol: felt252,
        token: felt252,
    }

    #[derive(Drop, starknet::Event)]
    struct MarketListed {
        #[key]
        market: u16,
        name: felt252,
        kind: u8,
    }

    /// The rules of the chain. The address of this contract commits to them.
    /// At genesis the node writes the same words, and those of the listed assets and markets, without running this; initial
    /// prices then carry the time of block 0, and the phase is OPEN without an incident.
    #[constructor]
    fn constructor(
        ref self: ContractState,
        rules_version: u32,
        settlement_chain_id: u64,
        operator: ContractAddress,
        bridge: felt252,
        fee_account: ContractAddress,
        insurance_account: ContractAddress,
        quorum: u8,
        report_age_max_ms: u64,
        stale_ms: u64,
        publishers: Array<felt252>
    ) {
        self.version.write(VERSION);
        self
            .rules
            .write(
                Rules {
                    version: record(),
                    rules_version: word(rules_version.into()),
                    settlement_chain_id: word(settlement_chain_id.into()),
                    operator: word(operator.into()),
                    bridge: word(bridge),
                    fee_account: word(fee_account.into()),
                    insurance_account: word(insurance_account.into()),
                    quorum: word(quorum.into()),
                    publisher_count: word(publishers.len().into()),
                    report_age_max_ms: count(report_age_max_ms.into()),
                    stale_ms: count(stale_ms.into()),
                }
            );
        let mut keys = publishers.span();
        let mut index: u8 = 0;
        loop {
            match keys.pop_front() {
                Option::Some(key) => {
                    self.publishers.write(index, word(*key));
                    index += 1;
                },
                Option::None(()) => {
                    break;
                }
            };
        };
        self.asset_count.write(count(0));
        self.market_count.write(count(0));
        self.withdrawal_count.write(count(0));
    }

    /// A deposit: `payload` of the bridge's message is [token, recipient, amount in units of the token].
    /// Everything else that is sent to this address on the settlement layer fails here, and the node never includes it.
    #[l1_handler]
    fn handle_deposit(
        ref self: ContractState,
        from_address: felt252,
        token: felt252,
        recipient: felt252,
        amount: felt252
    ) {
        assert(from_address == self.rules.read().bridge.value, 'NOT_THE_BRIDGE');
        // The conversion alone accepts zero, and the 256 values up to 2^251 that no contract can have.
        assert(recipient != 0 && recipient.into() < ADDRESS_BOUND, 'BAD_RECIPIENT');
        let account: ContractAddress = recipient.try_into().expect('BAD_RECIPIENT');
        let units: u128 = amount.try_into().expect('BAD_AMOUNT');
        assert(units > 0, 'BAD_AMOUNT');
        let (asset, listed) = asset_of_token(@self, token);
        let quantums_per_unit: u128 = listed.quantums_per_l1_unit.value.try_into().unwrap();
        let quantums: u128 = units * quantums_per_unit;
        let deposit_max: u128 = listed.deposit_max.value.try_into().unwrap();
        assert(quantums <= deposit_max, 'OVER_THE_CAP');

        let message_nonce: u64 = get_tx_info().unbox().nonce.try_into().unwrap();
        assert(self.messages_consumed.read(message_nonce) == 0, 'CONSUMED');
        self.messages_consumed.write(message_nonce, VERSION);
        credit(ref self, account, asset, quantums);
        let mut totals = self.totals.read(asset);
        totals.deposited = signed(totals.deposited.value + quantums.into());
        self.totals.write(asset, totals);
        self.emit(Deposited { account, asset, amount: quantums, message_nonce });
    }

    #[external(v0)]
    impl Operator of IOperator<ContractState> {
        fn list_asset(ref self: ContractState, asset: u16, parameters: AssetParameters) {
            only_operator(@self);
            let p = parameters;
            assert(asset.into() == self.asset_count.read().value, 'NOT_THE_NEXT');
            self.asset_count.write(count(asset.into() + 1));
            self
                .assets
                .write(
                    asset,
                    Asset {
                        version: record(),
                        symbol: word(p.symbol),
                        token: word(p.token),
                        quantums_per_l1_unit: word(p.quantums_per_l1_unit.into()),
                        deposit_max: word(p.deposit_max.into()),
                    }
                );
            self
                .totals
                .write(
                    asset, Totals { version: record(), deposited: signed(0), withdrawn: signed(0) }
                );
            self.emit(AssetListed { asset, symbol: p.symbol, token: p.token });
        }

        fn list_market(ref self: ContractState, market: u16, parameters: MarketParameters) {
            only_operator(@self);
            let p = parameters;
            assert(market.into() == self.market_count.read().value, 'NOT_THE_NEXT');
            self.market_count.write(count(market.into() + 1));
            self.markets.write(market, market_record(p));
            let initial_price = word(p.initial_price.into());
            self
                .prices
                .write(
                    market,
                    Price {
                        version: record(), oracle: initial_price, mark: initial_price, ts: count(0)
                    }
                );
            if p.kind == KIND_PERPETUAL {
                self
                    .funding
                    .write(
                        market, Funding { version: record(), index: signed(0), pool: signed(0) }
                    );
            }
            self.emit(MarketListed { market, name: p.name, kind: p.kind });
        }

        fn register(ref self: ContractState, account: ContractAddress, key: felt252, template: u8) {
            only_operator(@self);
            self
                .accounts
                .write(
                    account,
                    Account {
                        version: record(), key: word(key), template: count(template.into())
                    }
                );
            self.emit(Registered { account, public_key: key, template });
        }

        fn set_session_key(
            ref self: ContractState,
            account: ContractAddress,
            key: felt252,
            expiry: u64,
            scope: felt252,
            markets: Array<u16>,
            max_order_notional: u128
        ) {
            only_operator(@self);
            self
                .session_keys
                .write(
                    (account, key),
                    SessionKey {
                        version: record(),
                        expiry: count(expiry.into()),
                        scope: word(scope),
                        market_count: count(markets.len().into()),
                        max_order_notional: count(max_order_notional),
                        revoked_seq: count(0),
                    }
                );
            let mut rest = markets.span();
            let mut index: u16 = 0;
            loop {
                match rest.pop_front() {
                    Option::Some(market) => {
                        self.session_markets.write((account, key, index), count((*market).into()));
                        index += 1;
                    },
                    Option::None(()) => {
                        break;
                    }
                };
            };
            self.emit(SessionKeySet { account, public_key: key, expiry });
        }

        fn revoke_session_key(
            ref self: ContractState, account: ContractAddress, key: felt252, seq: u64
        ) {
            only_operator(@self);
            let mut session = self.session_keys.read((account, key));
            session.revoked_seq = count(seq.into());
            self.session_keys.write((account, key), session);
            self.emit(SessionKeyRevoked { account, public_key: key, seq });
        }

        /// The words after the fills come with them: they are what the node's ledger computed.
        fn settle_fills(
            ref self: ContractState,
            market: u16,
            fills: Array<Fill>,
            balances: Array<BalanceUpdate>,
            positions: Array<PositionUpdate>,
            funding: Array<FundingUpdate>
        ) {
            only_operator(@self);
            // The market must be listed.
            self.markets.read(market);
            emit_trades(ref self, market, fills.span());
            write_balances(ref self, balances.span());
            write_positions(ref self, positions.span());
            write_funding(ref self, funding.span());
        }

        fn set_funding(ref self: ContractState, funding: Array<FundingUpdate>) {
            only_operator(@self);
            write_funding(ref self, funding.span());
        }

        fn set_prices(ref self: ContractState, prices: Array<PriceUpdate>, ts: u64) {
            only_operator(@self);
            let mut rest = prices.span();
            loop {
                match rest.pop_front() {
                    Option::Some(price) => {
                        let update = *price;
                        self
                            .prices
                            .write(
                                update.market,
                                Price {
                                    version: record(),
                                    oracle: word(update.oracle.into()),
                                    mark: word(update.mark.into()),
                                    ts: count(ts.into())
                                }
                            );
                        self
                            .emit(
                                PriceSet {
                                    market: update.market,
                                    oracle: update.oracle,
                                    mark: update.mark,
                                    ts
                                }
                            );
                    },
                    Option::None(()) => {
                        break;
                    }
                };
            };
        }

        fn transfer(
            ref self: ContractState,
            sender: ContractAddress,
            recipient: ContractAddress,
            asset: u16,
            amount: u128,
            message_hash: felt252
        ) {
            only_operator(@self);
            assert(amount > 0, 'BAD_AMOUNT');
            debit(ref self, sender, asset, amount);
            credit(ref self, recipient, asset, amount);
            self.emit(Transferred { sender, recipient, asset, amount, message_hash });
        }

        /// Debits the account and sends [token, recipient, amount in units of the token, withdrawal] to the bridge.
        fn withdraw(
            ref self: ContractState,
            account: ContractAddress,
            asset: u16,
            amount: u128,
            recipient: felt252,
            withdrawal: u64,
            message_hash: felt252
        ) {
            only_operator(@self);
            assert(amount > 0, 'BAD_AMOUNT');
            assert(recipient != 0, 'BAD_RECIPIENT');
            let listed = self.assets.read(asset);
            let quantums_per_unit: u128 = listed.quantums_per_l1_unit.value.try_into().unwrap();
            assert(amount % quantums_per_unit == 0, 'NOT_WHOLE_UNITS');
            assert(
                withdrawal.into() == self.withdrawal_count.read().value + 1, 'NOT_THE_NEXT'
            );
            self.withdrawal_count.write(count(withdrawal.into()));
            debit(ref self, account, asset, amount);
            let mut totals = self.totals.read(asset);
            totals.withdrawn = signed(totals.withdrawn.value + amount.into());
            self.totals.write(asset, totals);
            let mut payload = ArrayTrait::new();
            payload.append(listed.token.value);
            payload.append(recipient);
            payload.append((amount / quantums_per_unit).into());
            payload.append(withdrawal.into());
            send_message_to_l1_syscall(self.rules.read().bridge.value, payload.span())
                .unwrap_syscall();
            self.emit(Withdrawn { account, asset, amount, recipient, withdrawal, message_hash });
        }

        fn enter_safe_mode(
            ref self: ContractState,
            incident: u32,
            reasons: u32,
            observed_ts: u64,
            seq: u64,
            cancelled: u32,
            cancel_root: felt252,
            since: u64
        ) {
            only_operator(@self);
            assert(incident != 0, 'BAD_INCIDENT');
            self
                .incidents
                .write(
                    incident,
                    Incident {
                        version: record(),
                        reasons: count(reasons.into()),
                        observed_ts: count(observed_ts.into()),
                        seq: count(seq.into()),
                        cancelled: count(cancelled.into()),
                        cancel_root: word(if cancelled == 0 {
                            NO_CANCEL_ROOT
                        } else {
                            cancel_root
                        }),
                        integrity_report_low: count(0),
                        integrity_report_high: count(0)
                    }
                );
            self
                .phase
                .write(
                    PhaseState {
                        version: record(),
                        phase: count(PHASE_HALTED),
                        incident: count(incident.into()),
                        since: count(since.into())
                    }
                );
            self
                .emit(
                    SafeModeEntered { incident, reasons, observed_ts, seq, cancelled, cancel_root }
                );
        }

        /// `integrity_report_*` are zero before SPOT, and are kept under the incident when they are not.
        fn set_phase(
            ref self: ContractState,
            incident: u32,
            phase: u8,
            since: u64,
            integrity_report_low: u128,
            integrity_report_high: u128
        ) {
            only_operator(@self);
            assert(phase <= PHASE_OPEN, 'BAD_PHASE');
            if integrity_report_low != 0 || integrity_report_high != 0 {
                let mut opened = self.incidents.read(incident);
                opened.integrity_report_low = count(integrity_report_low);
                opened.integrity_report_high = count(integrity_report_high);
                self.incidents.write(incident, opened);
            }
            self
                .phase
                .write(
                    PhaseState {
                        version: record(),
                        phase: count(phase.into()),
                        incident: count(incident.into()),
                        since: count(since.into())
                    }
                );
            self.emit(PhaseChanged { incident, phase, since });
        }
    }

    #[external(v0)]
    impl Views of IViews<ContractState> {
        fn get_version(self: @ContractState) -> felt252 {
            self.version.read()
        }
        fn get_rules(self: @ContractState) -> Rules {
            self.rules.read()
        }
        fn get_publisher(self: @ContractState, index: u8) -> felt252 {
            self.publishers.read(index).value
        }
        fn get_account(self: @ContractState, account: ContractAddress) -> Account {
            self.accounts.read(account)
        }
        fn get_session_key(
            self: @ContractState, account: ContractAddress, key: felt252
        ) -> SessionKey {
            self.session_keys.read((account, key))
        }
        fn get_session_market(
            self: @ContractState, account: ContractAddress, key: felt252, index: u16
        ) -> u16 {
            narrow(self.session_markets.read((account, key, index)))
        }
        fn get_balance(self: @ContractState, account: ContractAddress, asset: u16) -> felt252 {
            SignedPacking::unpack(self.balances.read((account, asset))).value
        }
        fn get_position(
            self: @ContractState, account: ContractAddress, market: u16
        ) -> Position {
            self.positions.read((account, market))
        }
        fn get_asset_count(self: @ContractState) -> u16 {
            narrow(self.asset_count.read())
        }
        fn get_asset(self: @ContractState, asset: u16) -> Asset {
            self.assets.read(asset)
        }
        fn get_market_count(self: @ContractState) -> u16 {
            narrow(self.market_count.read())
        }
        fn get_market(self: @ContractState, market: u16) -> Market {
            self.markets.read(market)
        }
        fn get_funding(self: @ContractState, market: u16) -> Funding {
            self.funding.read(market)
        }
        fn get_price(self: @ContractState, market: u16) -> Price {
            self.prices.read(market)
        }
        fn get_totals(self: @ContractState, asset: u16) -> Totals {
            self.totals.read(asset)
        }
        fn is_message_consumed(self: @ContractState, message_nonce: u64) -> bool {
            self.messages_consumed.read(message_nonce) != 0
        }
        fn get_withdrawal_count(self: @ContractState) -> u64 {
            self.withdrawal_count.read().value.try_into().unwrap()
        }
        fn get_phase(self: @ContractState) -> PhaseState {
            self.phase.read()
        }
        fn get_incident(self: @ContractState, incident: u32) -> Incident {
            self.incidents.read(incident)
        }
    }

    fn record() -> Word {
        Word { value: VERSION }
    }
    fn word(value: felt252) -> Word {
        Word { value }
    }
    fn count(value: u128) -> Count {
        Count { value }
    }
    fn signed(value: felt252) -> Signed {
        Signed { value }
    }
    fn narrow(value: Count) -> u16 {
        value.value.try_into().unwrap()
    }

    fn only_operator(self: @ContractState) {
        assert(get_caller_address().into() == self.rules.read().operator.value, 'NOT_OPERATOR');
    }

    fn market_record(p: MarketParameters) -> Market {
        Market {
            version: record(),
            name: word(p.name),
            kind: word(p.kind.into()),
            base_asset: count(p.base_asset.into()),
            tick_size: word(p.tick_size.into()),
            lot_size: word(p.lot_size.into()),
            fee_maker: signed(p.fee_maker),
            fee_taker: signed(p.fee_taker),
            band: word(p.band.into()),
            notional_min: word(p.notional_min.into()),
            notional_max: word(p.notional_max.into()),
            price_max: word(p.price_max.into()),
            size_max: word(p.size_max.into()),
            oracle_move_max: count(p.oracle_move_max.into()),
            initial_price: word(p.initial_price.into()),
            imf: count(p.imf.into()),
            mmf_factor: count(p.mmf_factor.into()),
            open_interest_lower: count(p.open_interest_lower),
            open_interest_upper: count(p.open_interest_upper),
            open_interest_max: count(p.open_interest_max.into()),
            position_max: count(p.position_max.into()),
            funding_rate_max: count(p.funding_rate_max.into()),
            liquidation_fee: count(p.liquidation_fee.into()),
            impact_notional: count(p.impact_notional),
        }
    }

    /// The listed asset of a token; there are few, so a walk over them.
    fn asset_of_token(self: @ContractState, token: felt252) -> (u16, Asset) {
        let listed = narrow(self.asset_count.read());
        let mut asset: u16 = 0;
        loop {
            assert(asset < listed, 'UNKNOWN_TOKEN');
            let record = self.assets.read(asset);
            if record.token.value == token {
                break (asset, record);
            }
            asset += 1;
        }
    }

    fn balance_or_none(self: @ContractState, account: ContractAddress, asset: u16) -> felt252 {
        let stored = self.balances.read((account, asset));
        if stored == 0 {
            0
        } else {
            SignedPacking::unpack(stored).value
        }
    }

    fn credit(ref self: ContractState, account: ContractAddress, asset: u16, amount: u128) {
        let balance = balance_or_none(@self, account, asset) + amount.into();
        self.balances.write((account, asset), SignedPacking::pack(signed(balance)));
    }

    /// What is taken out must be there: the margin check is the node's, the sign is checked here as well.
    fn debit(ref self: ContractState, account: ContractAddress, asset: u16, amount: u128) {
        let before = SignedPacking::unpack(self.balances.read((account, asset))).value;
        let after: u128 = (before - amount.into()).try_into().expect('INSUFFICIENT_BALANCE');
        self.balances.write((account, asset), SignedPacking::pack(signed(after.into())));
    }

    fn emit_trades(ref self: ContractState, market: u16, mut fills: Span<Fill>) {
        loop {
            match fills.pop_front() {
                Option::Some(fill) => {
                    let f = *fill;
                    self
                        .emit(
                            Trade {
                                market,
                                maker: f.maker,
                                taker: f.taker,
                                trade: f.trade,
                                price: f.price,
                                size: f.size,
                                taker_side: f.taker_side,
                                maker_order: f.maker_order,
                                maker_fee: f.maker_fee,
                                maker_pnl: f.maker_pnl,
                                taker_order: f.taker_order,
                                taker_fee: f.taker_fee,
                                taker_pnl: f.taker_pnl,
                            }
                        );
                },
                Option::None(()) => {
                    break;
                }
            };
        };
    }

    fn write_balances(ref self: ContractState, mut updates: Span<BalanceUpdate>) {
        loop {
            match updates.pop_front() {
                Option::Some(update) => {
                    let u = *update;
                    self
                        .balances
                        .write((u.account, u.asset), SignedPacking::pack(signed(u.amount)));
                },
                Option::None(()) => {
                    break;
                }
            };
        };
    }

    fn write_positions(ref self: ContractState, mut updates: Span<PositionUpdate>) {
        loop {
            match updates.pop_front() {
                Option::Some(update) => {
                    let u = *update;
                    self
                        .positions
                        .write(
                            (u.account, u.market),
                            Position {
                                version: record(),
                                size: signed(u.size),
                                cost: signed(u.cost),
                                funding_index: signed(u.funding_index)
                            }
                        );
                },
                Option::None(()) => {
                    break;
                }
            };
        };
    }

    fn write_funding(ref self: ContractState, mut updates: Span<FundingUpdate>) {
        loop {
            match updates.pop_front() {
                Option::Some(update) => {
                    let u = *update;
                    self
                        .funding
                        .write(
                            u.market,
                            Funding {
                                version: record(), index: signed(u.index), pool: signed(u.pool)
                            }
                        );
                    self.emit(FundingSet { market: u.market, index: u.index, pool: u.pool });
                },
                Option::None(()) => {
                    break;
                }
            };
        };
    }
}
