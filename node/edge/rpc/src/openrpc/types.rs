//! The types of the document.
use crate::incidents::GateFound;
use crate::limits::TRADE_BATCH_MAX;
use crate::trade::batch_types;
use keel_ingress::MessageKind;
use keel_types::*;
use serde_json::{Map, Value, json};

/// Objects: name, and fields as `name:type`; `name?:type` may be absent. `+Name` takes over the fields of another.
const OBJECTS: &[(&str, &str)] = &[
    // Writes.
    ("Executed", "seq:uint ts:ms replayed:bool"),
    ("Registered", "+Executed account:felt"),
    (
        "Placed",
        "+Executed order:felt state:OrderState reason:Reason size:decimal filled:decimal remaining:decimal quoteFilled:decimal \
         fills:[OwnFill]",
    ),
    ("OwnFill", "tradeId:uint price:decimal size:decimal fee:decimal"),
    ("Cancelled", "+Executed count:uint orders:[OrderChange]"),
    ("Scheduled", "+Executed at:?ms"),
    ("OrdersRestored", "+Executed restored:uint refused:uint orders:[RestoredOrder]"),
    ("RestoredOrder", "order:felt restored:?OrderChange refused:?Reject"),
    ("SessionKeyChanged", "+Executed key:felt"),
    ("Transferred", "+Executed hash:felt"),
    ("Withdrawn", "+Executed id:uint"),
    ("BatchResults", "results:[BatchResult]"),
    ("BatchResult", "type:MessageType result?:Placed|Cancelled error?:Error"),
    ("PriceReport", "publisher:uint market:text price:decimal ts:ms signature:Signature"),
    ("PricesPublished", "seq:uint ts:ms prices:[PriceTaken] held:[PriceHeld] discarded:[ReportDiscarded]"),
    ("PriceTaken", "market:text oracle:decimal mark:decimal"),
    ("PriceHeld", "market:text median:decimal"),
    ("ReportDiscarded", "publisher:uint market:text price:decimal ts:ms reason:ReportDiscard"),
    ("TypedData", "types:object primaryType:MessageType domain:TypedDataDomain message:object"),
    ("TypedDataDomain", "name:text version:text chainId:text revision:text"),
    // Orders.
    (
        "OrderChange",
        "order:felt side:Side price:decimal clientId:uint state:OrderState reason:Reason initiator:Initiator size:decimal \
         filled:decimal remaining:decimal incident:?uint",
    ),
    ("Order", "+OrderChange account:felt market:text seq:?uint ts:?ms"),
    ("OpenOrders", "seq:uint ts:ms orders:[Order]"),
    ("OrderWithFills", "+Order fills:[OwnFill] quoteFilled:decimal fillsUpTo:uint"),
    // Accounts.
    (
        "Account",
        "seq:uint ts:ms account:felt registered:bool key:?felt template:?text balances:[Balance] positions:[Position] \
         collateral:decimal accountValue:decimal initialMargin:decimal maintenanceMargin:decimal withdrawable:decimal \
         openOrders:uint sessionKeys:[SessionKey]",
    ),
    ("Balance", "asset:text total:decimal reserved:decimal available:decimal"),
    (
        "Position",
        "market:text size:decimal cost:decimal entryPrice:?decimal entryFundingIndex:decimal mark:decimal unrealized:decimal \
         initialMargin:decimal maintenanceMargin:decimal",
    ),
    ("SessionKeys", "seq:uint ts:ms sessionKeys:[SessionKey]"),
    ("SessionKey", "key:felt expiry:ms expired:bool scope:text markets:[text] maxOrderNotional:decimal"),
    // Markets.
    (
        "Market",
        "market:text kind:MarketKind base?:text quote:text tickSize:decimal lotSize:decimal feeMaker:decimal feeTaker:decimal \
         band:decimal notionalMin:decimal notionalMax:decimal priceMax:decimal sizeMax:decimal oracleMoveMax:decimal \
         oracle:decimal mark:decimal priceTs:ms bestBid:?decimal bestAsk:?decimal imf?:decimal mmfFactor?:decimal \
         positionMax?:decimal openInterest?:decimal openInterestLower?:decimal openInterestUpper?:decimal \
         openInterestMax?:decimal fundingIndex?:decimal fundingRateMax?:decimal liquidationFee?:decimal impactNotional?:decimal",
    ),
    ("Book", "market:text seq:uint ts:ms bids:[Level] asks:[Level]"),
    ("Level", "price:decimal size:decimal orders:uint"),
    ("Trades", "market:text seq:uint ts:ms trades:[Trade]"),
    ("Trade", "tradeId:uint price:decimal size:decimal takerSide:Side seq:uint ts:ms"),
    (
        "Ticker",
        "market:text seq:uint ts:ms oracle:decimal mark:decimal priceTs:ms stale:bool bestBid:?Level bestAsk:?Level \
         lastTrade:?Trade openInterest:?decimal fundingIndex:?decimal",
    ),
    (
        "Funding",
        "market:text seq:uint ts:ms index:decimal pool:decimal rateMax:decimal rateHours:uint impactNotional:decimal \
         openInterest:decimal oracle:decimal mark:decimal",
    ),
    ("Oracle", "seq:uint ts:ms publishers:[felt] quorum:uint reportAgeMaxMs:uint staleMs:uint markets:[MarketPrice]"),
    ("MarketPrice", "market:text oracle:decimal mark:decimal priceTs:ms ageMs:uint stale:bool"),
    // The node and bridges.
    (
        "NodeStatus",
        "phase:Phase incident:?uint reason:text reasons:[LossReason] since:ms nextPhase:?Phase eta:?ms postOnlyUntil:?ms \
         version:text chainId:text genesis:hash specVersions:[text] seq:uint ts:ms height:uint openOrders:uint failingMonitors:[FailingMonitor] block:?BlockBrief \
         settlement:Settlement",
    ),
    ("FailingMonitor", "monitor:text why:text"),
    ("BlockBrief", "height:uint hash:felt root:felt"),
    (
        "Settlement",
        "layer:text chainId:uint head:?uint headAgeMs:?uint submitter:text backlog:Backlog cancellations:[Cancellation] \
         built:?BatchBrief submitted:?BatchBrief confirmed:?BatchBrief",
    ),
    ("Backlog", "batches:uint oldest:?ms"),
    ("Cancellation", "messageNonce:uint started:ms deadline:ms"),
    ("BatchBrief", "batch:uint firstBlock:uint lastBlock:uint status:text"),
    ("LatestBatches", "built:?BatchBrief submitted:?BatchBrief confirmed:?BatchBrief"),
    ("BatchState", "+BatchBrief settlement:?Submission"),
    ("Batches", "batches:[BatchState] next:?uint"),
    ("BatchChange", "+BatchState cursor:text"),
    (
        "Batch",
        "+BatchState closed:text before:StatePoint after:StatePoint stateDiffLength:uint messagesToL1:[MessageToL1] \
         messagesToL2:[MessageToL2] data:DataBrief configHash:felt programHash:felt programOutput:[felt] transitionFact:hash \
         fact:hash",
    ),
    ("StatePoint", "height:?uint root:felt blockHash:felt"),
    ("MessageToL1", "from:felt to:l1 payload:[felt] hash:hash"),
    ("MessageToL2", "from:l1 to:felt nonce:uint selector:felt payload:[felt] hash:hash"),
    ("DataBrief", "kind:DataKind words:uint pages:uint blobs:[BlobBrief] chunks:[felt]"),
    ("BlobBrief", "versionedHash:hash commitment:Bytes"),
    ("Blob", "+BlobBrief index:uint z:felt value:hash data:Bytes"),
    ("Submission", "transactionHash:hash block:?uint"),
    ("BatchData", "batch:uint kind:DataKind page:uint pages:uint words:[felt] blob:?Blob chunkHash:?felt"),
    ("Deposit", "DepositPending|DepositWithheld|DepositExecuted"),
    ("DepositWithheld", "messageNonce:uint status:text reason:text"),
    ("DepositPending", "messageNonce:uint status:text l1Block:uint l1TransactionHash:hash depth:uint depthNeeded:uint"),
    (
        "DepositExecuted",
        "messageNonce:uint messageHash:hash account:felt token:l1 l1Amount:uint l1Block:uint l1BlockHash:hash \
         l1TransactionHash:hash seq:uint ts:ms block:?uint status:text asset?:text amount?:decimal reason?:text",
    ),
    (
        "Withdrawal",
        "id:uint account:felt asset:text amount:decimal l1Amount:uint token:l1 recipient:l1 messageHash:hash message:MessageToL1 \
         seq:uint ts:ms block:?uint batch:?uint status:text claimable:bool claim:Claim",
    ),
    ("Claim", "EthereumCall|StarknetCall"),
    ("EthereumCall", "to:l1 data:text"),
    ("StarknetCall", "to:l1 entrypoint:text selector:felt calldata:[felt]"),
    // Sessions.
    ("LoggedIn", "+Executed account:felt"),
    ("CancelOnDisconnect", "account:felt enabled:bool"),
    // History: the newest first; `next` is the cursor of the page after, null at the end.
    ("Page", "next:?text upTo:uint"),
    ("OrderHistory", "+Page orders:[PastOrder]"),
    ("PastOrder", "+Order openedSeq:uint openedTs:ms"),
    ("FillHistory", "+Page fills:[AccountFill]"),
    ("AccountFill", "+OwnFill market:text order:felt side:Side maker:bool realizedPnl:decimal seq:uint ts:ms"),
    ("CancelledOrders", "+Page orders:[CancelledOrder]"),
    ("CancelledOrder", "+Order index:uint restored:?felt"),
    (
        "CancelReceipt",
        "incident:uint order:felt account:felt market:text marketIndex:uint remaining:decimal remainingQuantums:uint seq:uint leaf:felt \
         index:uint siblings:[felt] cancelRoot:felt state:?CancelState",
    ),
    (
        "CancelState",
        "batch:uint block:uint root:felt contractsRoot:felt classesRoot:felt exchange:felt classHash:felt storageRoot:felt nonce:felt \
         slot:felt contractsProof:[ProofNode] storageProof:[ProofNode]",
    ),
    ("Incidents", "+Page incidents:[Incident] pending:[Detection]"),
    (
        "Incident",
        "incident:uint phase:Phase reasons:[LossReason] observed:ms seq:uint ts:ms endedSeq:?uint ended:?ms cancelled:uint accounts:uint \
         unheardFills:uint closedMs:uint integrityReport:?hash",
    ),
    (
        "IncidentDetail",
        "+Incident markets:[MarketCancelled] timeline:[IncidentStep] timelineOmitted:uint unheardFillsMs:uint unheardFillsCut:bool \
         detections:[Detection] gate:[GateOutcome] report:?object missing:[text]",
    ),
    ("MarketCancelled", "market:text cancelled:uint"),
    (
        "IncidentStep",
        "incident:uint seq:uint ts:ms step:text reasons?:[LossReason] observed?:ms cancelled?:uint from?:Phase phase?:Phase \
         integrityReport?:hash operator?:uint",
    ),
    ("Detection", "observed:ms reasons:[LossReason] why:?text crossings:[Crossing] durable:?ms announced:?ms"),
    ("Crossing", "reason:LossReason signal:text threshold:text samples:[SampleOf]"),
    ("SampleOf", "ts:ms value:text"),
    ("GateOutcome", "outcome:GateFound why:text first:ms last:ms times:uint"),
    ("IncidentAccounts", "+Page accounts:[IncidentAccount]"),
    ("IncidentAccount", "account:felt cancelled:uint markets:[MarketCancelled] unheardFills:uint closedMs:uint"),
    (
        "NodeUpdate",
        "phase:Phase since:ms incident:?uint reasons:[LossReason] observed:?ms cancelled:?uint integrityReport:?hash \
         steps:[IncidentStep]",
    ),
    ("ProofNode", "hash:felt left?:felt right?:felt path?:felt length?:uint child?:felt"),
    ("TransferHistory", "+Page transfers:[Transfer]"),
    ("Transfer", "account:felt recipient:felt asset:text amount:decimal hash:felt seq:uint ts:ms"),
    ("WithdrawalHistory", "+Page withdrawals:[PastWithdrawal]"),
    ("PastWithdrawal", "id:uint asset:text amount:decimal recipient:l1 hash:felt seq:uint ts:ms"),
    ("LiquidationHistory", "+Page liquidations:[LiquidationReceipt]"),
    (
        "LiquidationReceipt",
        "seq:uint ts:ms account:felt attempts:uint inputs:MarginInputs fund:?MarginInputs decision:LiquidationDecision",
    ),
    ("MarginInputs", "collateral:decimal markets:[MarketInputs]"),
    (
        "MarketInputs",
        "market:text size:decimal cost:decimal entryFundingIndex:decimal fundingIndex:decimal mark:decimal imf:decimal mmf:decimal \
         fee:decimal liquidationFee:decimal tickSize:decimal lotSize:decimal priceMax:decimal",
    ),
    (
        "LiquidationDecision",
        "step:LiquidationStep count?:uint fifths?:uint orders?:[CloseOrder] equityLeft?:decimal fee?:decimal left?:decimal \
         deficit?:decimal market?:text side?:Side price?:decimal size?:decimal shares?:[DeleverageShare] \
         candidates?:[DeleverageCandidate]",
    ),
    ("CloseOrder", "market:text side:Side size:decimal limit:decimal filled:decimal quote:decimal"),
    ("DeleverageShare", "account:felt size:decimal"),
    ("DeleverageCandidate", "account:felt size:decimal cost:decimal profit:decimal value:decimal"),
    ("TradeHistory", "+Page trades:[Trade]"),
    ("FundingHistory", "+Page funding:[FundingSample]"),
    ("FundingSample", "rate:decimal index:decimal accrued:ms seq:uint ts:ms"),
    (
        "Candle",
        "start:ms open:decimal high:decimal low:decimal close:decimal volume:decimal quoteVolume:decimal trades:uint",
    ),
    ("CandleHistory", "+Page candles:[Candle]"),
];

/// Everything under `components/schemas`.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    for (name, fields) in OBJECTS {
        all.insert((*name).into(), object(fields));
    }
    for kind in MessageKind::ALL {
        all.insert(format!("{}Message", kind.as_str()), message(*kind));
    }
    all.extend(scalars());
    all.extend(enums());
    let messages: Vec<String> = MessageKind::ALL.iter().map(|kind| format!("{}Message", kind.as_str())).collect();
    all.insert("Message".into(), schema(&messages.join("|")));
    all.insert("BatchRequest".into(), batch_request());
    all.insert(
        "Error".into(),
        json!({
            "type": "object", "required": ["code", "message"], "additionalProperties": false,
            "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {"type": "object"}},
        }),
    );
    all.insert("SubscriptionId".into(), json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}));
    all.insert(
        "OpenRpcDocument".into(),
        json!({
            "type": "object", "required": ["openrpc", "info", "methods", "components"],
            "description": "OpenRPC 1.3.2, https://spec.open-rpc.org",
        }),
    );
    Value::Object(all)
}

/// The schema of a type as text.
pub(super) fn schema(of: &str) -> Value {
    if of.contains('|') {
        return json!({"anyOf": of.split('|').map(schema).collect::<Vec<_>>()});
    }
    if let Some(inner) = of.strip_prefix('?') {
        return json!({"anyOf": [schema(inner), {"type": "null"}]});
    }
    if let Some(item) = of.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return json!({"type": "array", "items": schema(item)});
    }
    match of {
        "bool" => json!({"type": "boolean"}),
        "text" => json!({"type": "string"}),
        "object" => json!({"type": "object"}),
        named => json!({"$ref": format!("#/components/schemas/{}", scalar_name(named))}),
    }
}

/// Short names of [scalars]; other names are their own.
fn scalar_name(of: &str) -> &str {
    match of {
        "uint" => "Integer",
        "decimal" => "Decimal",
        "ms" => "Milliseconds",
        "felt" => "Felt",
        "l1" => "L1Address",
        "hash" => "Bytes32",
        other => other,
    }
}

fn object(text: &str) -> Value {
    if !text.contains(':') {
        return schema(text);
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    collect(text, &mut properties, &mut required);
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn collect(text: &str, properties: &mut Map<String, Value>, required: &mut Vec<String>) {
    for field in text.split_whitespace() {
        if let Some(other) = field.strip_prefix('+') {
            let (_, fields) = OBJECTS.iter().find(|(name, _)| *name == other).expect("the other is in the table");
            collect(fields, properties, required);
            continue;
        }
        let (name, of) = field.split_once(':').expect("a field has a type");
        let optional = name.strip_suffix('?');
        if optional.is_none() {
            required.push(name.to_owned());
        }
        properties.insert(optional.unwrap_or(name).to_owned(), schema(of));
    }
}

/// A message in wire form. The node fills in the first template of genesis where a Register has none.
fn message(kind: MessageKind) -> Value {
    let mut schema = kind.wire_schema();
    if kind == MessageKind::Register
        && let Some(required) = schema["required"].as_array_mut()
    {
        required.retain(|name| name != "template");
    }
    schema
}

fn batch_request() -> Value {
    let one = |name: &str| {
        json!({
            "type": "object",
            "required": ["type", "message", "signature"],
            "additionalProperties": false,
            "properties": {
                "type": {"const": name},
                "message": {"$ref": format!("#/components/schemas/{name}Message")},
                "signature": schema("Signature"),
                "key": schema("felt"),
                "sessionKey": schema("felt"),
            },
        })
    };
    json!({
        "description": format!("One of at most {TRADE_BATCH_MAX} requests."),
        "oneOf": batch_types().map(one),
    })
}

fn scalars() -> Map<String, Value> {
    let text = |pattern: &str, description: &str| json!({"type": "string", "pattern": pattern, "description": description});
    Map::from_iter([
        ("Integer".into(), text("^(0|[1-9][0-9]*)$", "An unsigned integer.")),
        ("Decimal".into(), text(r"^-?(0|[1-9][0-9]*)(\.[0-9]{1,8})?$", "A decimal number with at most 8 decimals.")),
        (
            "Milliseconds".into(),
            text("^(0|[1-9][0-9]*)$", "Milliseconds since the Unix epoch; 0: none, where that is possible."),
        ),
        ("Felt".into(), text("^0x[0-9a-fA-F]{1,64}$", "A field element of Starknet, below its prime.")),
        ("Address".into(), text("^0x[0-9a-fA-F]{1,64}$", "An account: at least 1 and below 2^251 - 256.")),
        (
            "L1Address".into(),
            text("^0x[0-9a-fA-F]{1,64}$", "An address on the settlement layer: 40 digits on Ethereum, a felt on Starknet."),
        ),
        ("Bytes".into(), text("^0x([0-9a-f]{2})*$", "Bytes.")),
        ("Bytes32".into(), text("^0x[0-9a-f]{64}$", "32 bytes.")),
        (
            "Signature".into(),
            json!({"type": "array", "items": schema("felt"), "minItems": 2, "maxItems": 2, "description": "[r, s]"}),
        ),
    ])
}

fn enums() -> Map<String, Value> {
    fn values<T: Copy>(name: &str, all: &[T], text: fn(T) -> &'static str) -> (String, Value) {
        (name.into(), json!({"enum": all.iter().copied().map(text).collect::<Vec<_>>()}))
    }
    Map::from_iter([
        values("Side", Side::ALL, Side::as_str),
        values("OrderState", OrderState::ALL, OrderState::as_str),
        values("Reason", Reason::ALL, Reason::as_str),
        values("Initiator", Initiator::ALL, Initiator::as_str),
        values("Phase", Phase::ALL, Phase::as_str),
        values("LossReason", LossReason::ALL, LossReason::as_str),
        values("Reject", Reject::ALL, Reject::as_str),
        values("ReportDiscard", ReportDiscard::ALL, ReportDiscard::as_str),
        values("MessageType", MessageKind::ALL, MessageKind::as_str),
        values("LiquidationStep", LiquidationStep::ALL, LiquidationStep::as_str),
        values("MarketKind", &["SPOT", "PERPETUAL"], |kind| kind),
        values("GateFound", GateFound::ALL, GateFound::as_str),
        values("DataKind", &["CALLDATA", "BLOBS", "CHUNKS"], |kind| kind),
    ])
}
