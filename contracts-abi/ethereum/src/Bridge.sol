// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAppchainMessaging} from "./interfaces/IAppchainMessaging.sol";
import {IERC20} from "./interfaces/IERC20.sol";

/// Escrow of the ERC-20 tokens that trade on the appchain.
///
/// A deposit moves tokens in and sends a message to the exchange; a withdrawal consumes a message of the exchange and
/// moves tokens out. `escrow` counts what came in by deposits less what went out: tokens sent here by other means never
/// enter it. Messages are as trustworthy as the core contract's fact registry: an attestation, not a validity proof.
///
/// Nobody owns this contract. The guardian may stop and resume deposits and nothing else; tokens and caps are fixed.
contract Bridge {
    error TokenNotListed(address token);
    error BadListing(address token);
    error BadRecipient();
    error BadAmount();
    error CapExceeded(uint256 escrowAfter, uint256 cap);
    error DepositsPaused();
    error NotGuardian();
    error NotDepositor();
    error NoSuchDeposit(uint256 nonce);
    error EscrowTooSmall(uint256 escrow, uint256 amount);
    error TransferFailed(address token, bytes answer);
    error TransferInexact(address token, uint256 expected, uint256 actual);
    error Reentered();
    error BadConfiguration();

    event DepositSent(
        uint256 indexed nonce,
        address indexed token,
        address indexed depositor,
        uint256 l2Recipient,
        uint256 amount,
        uint256 fee,
        bytes32 messageHash
    );
    event DepositCancellationStarted(uint256 indexed nonce, address indexed depositor);
    event DepositRefunded(uint256 indexed nonce, address indexed token, address indexed depositor, uint256 amount);
    event WithdrawalPaid(
        uint256 indexed withdrawalId, address indexed token, address indexed recipient, uint256 amount
    );
    event DepositsPausedSet(bool paused);

    /// A deposit as it was sent, kept so that it can be cancelled; `nonce` of its message is its key.
    struct Deposit {
        address depositor;
        address token;
        uint256 l2Recipient;
        uint256 amount;
    }

    /// The Starknet selector of "handle_deposit": keccak cut to 250 bits.
    uint256 public constant HANDLE_DEPOSIT_SELECTOR = uint256(keccak256("handle_deposit")) & (2 ** 250 - 1);
    /// Appchain addresses are 1 to this, inclusive.
    uint256 public constant L2_ADDRESS_MAX = 2 ** 251 - 257;
    /// A cap, and so any amount, fits 127 bits: the appchain keeps signed amounts.
    uint256 public constant CAP_MAX = 2 ** 127 - 1;

    IAppchainMessaging public immutable core;
    uint256 public immutable exchange;
    address public immutable guardian;
    bool public depositsPaused;
    /// Token units. The most that may be in escrow; zero for a token that is not listed.
    mapping(address => uint256) public cap;
    /// Token units: deposited, less withdrawn and refunded.
    mapping(address => uint256) public escrow;
    mapping(uint256 => Deposit) public deposits;
    address[] private _tokens;
    bool private _entered;

    modifier nonReentrant() {
        if (_entered) revert Reentered();
        _entered = true;
        _;
        _entered = false;
    }

    constructor(
        IAppchainMessaging coreContract,
        uint256 exchangeAddress,
        address guardianAddress,
        address[] memory tokenList,
        uint256[] memory caps
    ) {
        if (address(coreContract).code.length == 0) revert BadConfiguration();
        if (!_isL2Address(exchangeAddress) || tokenList.length != caps.length) revert BadConfiguration();
        core = coreContract;
        exchange = exchangeAddress;
        guardian = guardianAddress;
        for (uint256 i = 0; i < tokenList.length; ++i) {
            address token = tokenList[i];
            bool listable = token.code.length != 0 && cap[token] == 0 && caps[i] != 0 && caps[i] <= CAP_MAX;
            if (!listable) revert BadListing(token);
            cap[token] = caps[i];
            _tokens.push(token);
        }
    }

    function tokens() external view returns (address[] memory) {
        return _tokens;
    }

    function setDepositsPaused(bool paused) external {
        if (msg.sender != guardian) revert NotGuardian();
        depositsPaused = paused;
        emit DepositsPausedSet(paused);
    }

    /// Moves `amount` of `token` from the caller into escrow and tells the exchange to credit `l2Recipient`.
    /// `msg.value` is the message fee in wei: more than 0, at most 1 ether. Returns the nonce of the message.
    function deposit(address token, uint256 amount, uint256 l2Recipient)
        external
        payable
        nonReentrant
        returns (uint256 nonce)
    {
        if (depositsPaused) revert DepositsPaused();
        if (cap[token] == 0) revert TokenNotListed(token);
        if (!_isL2Address(l2Recipient)) revert BadRecipient();
        if (amount == 0) revert BadAmount();
        // The cap bounds the amount first, so that the sum cannot wrap.
        if (amount > cap[token] || escrow[token] + amount > cap[token]) {
            revert CapExceeded(amount > cap[token] ? amount : escrow[token] + amount, cap[token]);
        }

        escrow[token] += amount;
        _pull(token, msg.sender, amount);
        bytes32 messageHash;
        (messageHash, nonce) = core.sendMessageToL2{value: msg.value}(
            exchange, HANDLE_DEPOSIT_SELECTOR, _depositPayload(token, l2Recipient, amount)
        );
        deposits[nonce] = Deposit(msg.sender, token, l2Recipient, amount);
        emit DepositSent(nonce, token, msg.sender, l2Recipient, amount, msg.value, messageHash);
    }

    /// First step of taking back a deposit that the appchain has not credited. Only the depositor.
    function startDepositCancellation(uint256 nonce) external nonReentrant {
        Deposit memory sent = _depositOfCaller(nonce);
        core.startL1ToL2MessageCancellation(
            exchange,
            HANDLE_DEPOSIT_SELECTOR,
            _depositPayload(sent.token, sent.l2Recipient, sent.amount),
            nonce
        );
        emit DepositCancellationStarted(nonce, msg.sender);
    }

    /// Second step, once the core contract's delay has passed: pays the deposit back to the depositor. A deposit that was
    /// credited meanwhile has no message left to cancel, and the core contract refuses.
    function cancelDeposit(uint256 nonce) external nonReentrant {
        Deposit memory sent = _depositOfCaller(nonce);
        delete deposits[nonce];
        core.cancelL1ToL2Message(
            exchange,
            HANDLE_DEPOSIT_SELECTOR,
            _depositPayload(sent.token, sent.l2Recipient, sent.amount),
            nonce
        );
        _release(sent.token, sent.depositor, sent.amount);
        emit DepositRefunded(nonce, sent.token, sent.depositor, sent.amount);
    }

    /// Pays a withdrawal whose batch is settled. Anyone may call; the tokens go to `recipient`.
    function withdraw(address token, address recipient, uint256 amount, uint256 withdrawalId) external nonReentrant {
        if (recipient == address(0) || recipient == address(this)) revert BadRecipient();
        if (amount == 0) revert BadAmount();
        uint256[] memory payload = new uint256[](4);
        payload[0] = uint256(uint160(token));
        payload[1] = uint256(uint160(recipient));
        payload[2] = amount;
        payload[3] = withdrawalId;
        core.consumeMessageFromL2(exchange, payload);
        _release(token, recipient, amount);
        emit WithdrawalPaid(withdrawalId, token, recipient, amount);
    }

    function _depositOfCaller(uint256 nonce) private view returns (Deposit memory sent) {
        sent = deposits[nonce];
        if (sent.depositor == address(0)) revert NoSuchDeposit(nonce);
        if (sent.depositor != msg.sender) revert NotDepositor();
    }

    function _depositPayload(address token, uint256 l2Recipient, uint256 amount)
        private
        pure
        returns (uint256[] memory payload)
    {
        payload = new uint256[](3);
        payload[0] = uint256(uint160(token));
        payload[1] = l2Recipient;
        payload[2] = amount;
    }

    /// A token that keeps a part of what is moved would leave the escrow short, so the balance must rise by exactly `amount`.
    function _pull(address token, address from, uint256 amount) private {
        uint256 before = IERC20(token).balanceOf(address(this));
        _call(token, abi.encodeCall(IERC20.transferFrom, (from, address(this), amount)));
        uint256 received = IERC20(token).balanceOf(address(this)) - before;
        if (received != amount) revert TransferInexact(token, amount, received);
    }

    function _release(address token, address to, uint256 amount) private {
        uint256 held = escrow[token];
        if (held < amount) revert EscrowTooSmall(held, amount);
        escrow[token] = held - amount;
        uint256 before = IERC20(token).balanceOf(address(this));
        _call(token, abi.encodeCall(IERC20.transfer, (to, amount)));
        uint256 sent = before - IERC20(token).balanceOf(address(this));
        if (sent != amount) revert TransferInexact(token, amount, sent);
    }

    /// Some tokens answer true, some answer nothing. Anything else is a failure. Listed tokens have code.
    function _call(address token, bytes memory data) private {
        (bool ok, bytes memory answer) = token.call(data);
        bool accepted = answer.length == 0 || (answer.length >= 32 && abi.decode(answer, (uint256)) == 1);
        if (!ok || !accepted) revert TransferFailed(token, answer);
    }

    function _isL2Address(uint256 value) private pure returns (bool) {
        return value != 0 && value <= L2_ADDRESS_MAX;
    }
}
