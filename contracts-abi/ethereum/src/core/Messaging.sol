// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAppchainMessaging} from "../interfaces/IAppchainMessaging.sol";
import {ProgramOutput} from "./ProgramOutput.sol";

/// Messages both ways, with the names, events, hashes and error strings of the Starknet core contract.
///
/// A message to L2 waits here with its fee until a state update consumes it, or until its sender cancels it: start,
/// wait `messageCancellationDelay` seconds, cancel. The delay gives a batch that already credited the message the time to
/// arrive here: refunded first, the batch could never be settled. So it cannot be set below a minimum that is fixed at
/// construction, and a cancellation that was started keeps its deadline whatever is set meanwhile. The fee of a cancelled message stays here, as it does upstream.
/// `sendMessageToL2` is public: what stands here is not yet a deposit, and the appchain takes only its bridge's messages.
abstract contract Messaging is IAppchainMessaging {
    event LogMessageToL2(
        address indexed fromAddress,
        uint256 indexed toAddress,
        uint256 indexed selector,
        uint256[] payload,
        uint256 nonce,
        uint256 fee
    );
    event ConsumedMessageToL2(
        address indexed fromAddress,
        uint256 indexed toAddress,
        uint256 indexed selector,
        uint256[] payload,
        uint256 nonce
    );
    event MessageToL2CancellationStarted(
        address indexed fromAddress,
        uint256 indexed toAddress,
        uint256 indexed selector,
        uint256[] payload,
        uint256 nonce
    );
    event MessageToL2Canceled(
        address indexed fromAddress,
        uint256 indexed toAddress,
        uint256 indexed selector,
        uint256[] payload,
        uint256 nonce
    );
    event MessageCancellationDelayChanged(address indexed changedBy, uint256 oldDelay, uint256 newDelay);
    event LogMessageToL1(uint256 indexed fromAddress, address indexed toAddress, uint256[] payload);
    event ConsumedMessageToL1(uint256 indexed fromAddress, address indexed toAddress, uint256[] payload);

    /// Fee in wei plus one while the message waits here, otherwise 0.
    mapping(bytes32 => uint256) public l1ToL2Messages;
    /// Unix seconds at which a cancellation was last started, otherwise 0. Kept after the message is gone.
    mapping(bytes32 => uint256) public l1ToL2MessageCancellations;
    /// How many times the message may still be consumed on this layer.
    mapping(bytes32 => uint256) public l2ToL1Messages;
    uint256 public l1ToL2MessageNonce;
    /// Seconds between the start of a cancellation and its end, for cancellations started from now on.
    uint256 public messageCancellationDelay = 5 days;
    /// Seconds. The least that the delay can be set to.
    uint256 public immutable messageCancellationDelayMin;
    /// Unix seconds from which a started cancellation may end; the largest number: never. 0 if it was not started.
    mapping(bytes32 => uint256) public messageCancellationAllowedAt;

    /// 1 second to 5 days.
    constructor(uint256 delayMinSeconds) {
        require(delayMinSeconds != 0 && delayMinSeconds <= messageCancellationDelay, "BAD_INITIALIZATION");
        messageCancellationDelayMin = delayMinSeconds;
    }

    /// Wei. A message costs at least 1 wei.
    function getMaxL1MsgFee() public pure returns (uint256) {
        return 1 ether;
    }

    function l1ToL2MsgHash(
        address fromAddress,
        uint256 toAddress,
        uint256 selector,
        uint256[] calldata payload,
        uint256 nonce
    ) public pure returns (bytes32) {
        return keccak256(
            abi.encodePacked(
                uint256(uint160(fromAddress)), toAddress, nonce, selector, payload.length, payload
            )
        );
    }

    function l2ToL1MsgHash(uint256 fromAddress, address toAddress, uint256[] calldata payload)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(fromAddress, uint256(uint160(toAddress)), payload.length, payload));
    }

    function sendMessageToL2(uint256 toAddress, uint256 selector, uint256[] calldata payload)
        external
        payable
        returns (bytes32, uint256)
    {
        require(msg.value > 0, "L1_MSG_FEE_MUST_BE_GREATER_THAN_0");
        require(msg.value <= getMaxL1MsgFee(), "MAX_L1_MSG_FEE_EXCEEDED");
        uint256 nonce = l1ToL2MessageNonce++;
        bytes32 messageHash = l1ToL2MsgHash(msg.sender, toAddress, selector, payload, nonce);
        l1ToL2Messages[messageHash] = msg.value + 1;
        emit LogMessageToL2(msg.sender, toAddress, selector, payload, nonce, msg.value);
        return (messageHash, nonce);
    }

    function consumeMessageFromL2(uint256 fromAddress, uint256[] calldata payload) external returns (bytes32) {
        bytes32 messageHash = l2ToL1MsgHash(fromAddress, msg.sender, payload);
        require(l2ToL1Messages[messageHash] > 0, "INVALID_MESSAGE_TO_CONSUME");
        l2ToL1Messages[messageHash] -= 1;
        emit ConsumedMessageToL1(fromAddress, msg.sender, payload);
        return messageHash;
    }

    function startL1ToL2MessageCancellation(
        uint256 toAddress,
        uint256 selector,
        uint256[] calldata payload,
        uint256 nonce
    ) external returns (bytes32) {
        bytes32 messageHash = _waitingMessage(toAddress, selector, payload, nonce);
        l1ToL2MessageCancellations[messageHash] = block.timestamp;
        // A delay too long to add must read as "never", not as an arithmetic panic.
        uint256 delayMax = type(uint256).max - block.timestamp;
        messageCancellationAllowedAt[messageHash] =
            messageCancellationDelay > delayMax ? type(uint256).max : block.timestamp + messageCancellationDelay;
        emit MessageToL2CancellationStarted(msg.sender, toAddress, selector, payload, nonce);
        return messageHash;
    }

    function cancelL1ToL2Message(uint256 toAddress, uint256 selector, uint256[] calldata payload, uint256 nonce)
        external
        returns (bytes32)
    {
        bytes32 messageHash = _waitingMessage(toAddress, selector, payload, nonce);
        uint256 allowedAt = messageCancellationAllowedAt[messageHash];
        require(allowedAt != 0, "MESSAGE_CANCELLATION_NOT_REQUESTED");
        require(allowedAt != type(uint256).max, "CANCEL_ALLOWED_TIME_OVERFLOW");
        require(block.timestamp >= allowedAt, "MESSAGE_CANCELLATION_NOT_ALLOWED_YET");
        l1ToL2Messages[messageHash] = 0;
        emit MessageToL2Canceled(msg.sender, toAddress, selector, payload, nonce);
        return messageHash;
    }

    function _setCancellationDelay(uint256 delaySeconds) internal {
        require(delaySeconds >= messageCancellationDelayMin, "CANCELLATION_DELAY_TOO_SHORT");
        emit MessageCancellationDelayChanged(msg.sender, messageCancellationDelay, delaySeconds);
        messageCancellationDelay = delaySeconds;
    }

    /// Adds the messages of the segment at `offset`; returns the index after the segment.
    function _recordMessagesToL1(uint256[] calldata output, uint256 offset) internal returns (uint256) {
        (uint256 next, uint256 end) = ProgramOutput.segment(output, offset);
        uint256[] calldata words;
        while (next < end) {
            (words, next) = ProgramOutput.message(output, next, ProgramOutput.MESSAGE_TO_L1_PREFIX_WORDS);
            l2ToL1Messages[ProgramOutput.hashWords(words)] += 1;
            emit LogMessageToL1(
                words[0], address(uint160(words[1])), words[ProgramOutput.MESSAGE_TO_L1_PREFIX_WORDS:]
            );
        }
        require(next == end, "INVALID_MESSAGE_SEGMENT_SIZE");
        return end;
    }

    /// Takes the messages of the segment at `offset` off this contract; returns the index after the segment and the sum
    /// of their fees in wei. One message that does not wait here refuses the whole update.
    function _consumeMessagesToL2(uint256[] calldata output, uint256 offset)
        internal
        returns (uint256 end, uint256 fees)
    {
        uint256 next;
        (next, end) = ProgramOutput.segment(output, offset);
        uint256[] calldata words;
        while (next < end) {
            (words, next) = ProgramOutput.message(output, next, ProgramOutput.MESSAGE_TO_L2_PREFIX_WORDS);
            bytes32 messageHash = ProgramOutput.hashWords(words);
            uint256 feePlusOne = l1ToL2Messages[messageHash];
            require(feePlusOne > 0, "INVALID_MESSAGE_TO_CONSUME");
            fees += feePlusOne - 1;
            l1ToL2Messages[messageHash] = 0;
            emit ConsumedMessageToL2(
                address(uint160(words[0])),
                words[1],
                words[3],
                words[ProgramOutput.MESSAGE_TO_L2_PREFIX_WORDS:],
                words[2]
            );
        }
        require(next == end, "INVALID_MESSAGE_SEGMENT_SIZE");
    }

    function _waitingMessage(uint256 toAddress, uint256 selector, uint256[] calldata payload, uint256 nonce)
        private
        view
        returns (bytes32 messageHash)
    {
        messageHash = l1ToL2MsgHash(msg.sender, toAddress, selector, payload, nonce);
        require(l1ToL2Messages[messageHash] > 0, "NO_MESSAGE_TO_CANCEL");
    }
}
