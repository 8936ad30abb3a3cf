// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Governors and operators with the names, events and error strings of the Starknet core contract.
/// A governor appoints operators and may change the program and config hashes until `finalize`; an operator may
/// submit state updates and nothing else. Neither can make an unattested transition pass.
abstract contract Governance {
    event LogNominatedGovernor(address nominatedGovernor);
    event LogNewGovernorAccepted(address acceptedGovernor);
    event LogRemovedGovernor(address removedGovernor);
    event LogNominationCancelled();
    event LogOperatorAdded(address operator);
    event LogOperatorRemoved(address operator);
    event Finalized();

    mapping(address => bool) public starknetIsGovernor;
    mapping(address => bool) public isOperator;
    bool public isFinalized;
    address private _candidate;

    modifier onlyGovernance() {
        require(starknetIsGovernor[msg.sender], "ONLY_GOVERNANCE");
        _;
    }

    modifier onlyOperator() {
        require(isOperator[msg.sender], "ONLY_OPERATOR");
        _;
    }

    modifier notFinalized() {
        require(!isFinalized, "FINALIZED");
        _;
    }

    constructor() {
        _accept(msg.sender);
    }

    function starknetNominateNewGovernor(address newGovernor) external onlyGovernance {
        require(newGovernor != address(0), "BAD_ADDRESS");
        require(!starknetIsGovernor[newGovernor], "ALREADY_GOVERNOR");
        require(_candidate == address(0), "OTHER_CANDIDATE_PENDING");
        _candidate = newGovernor;
        emit LogNominatedGovernor(newGovernor);
    }

    function starknetCancelNomination() external onlyGovernance {
        if (_candidate == address(0)) return;
        _candidate = address(0);
        emit LogNominationCancelled();
    }

    function starknetAcceptGovernance() external {
        require(msg.sender == _candidate, "ONLY_CANDIDATE_GOVERNOR");
        _candidate = address(0);
        _accept(msg.sender);
    }

    function starknetRemoveGovernor(address governorForRemoval) external onlyGovernance {
        require(msg.sender != governorForRemoval, "GOVERNOR_SELF_REMOVE");
        require(starknetIsGovernor[governorForRemoval], "NOT_GOVERNOR");
        starknetIsGovernor[governorForRemoval] = false;
        emit LogRemovedGovernor(governorForRemoval);
    }

    function registerOperator(address newOperator) external onlyGovernance {
        if (isOperator[newOperator]) return;
        isOperator[newOperator] = true;
        emit LogOperatorAdded(newOperator);
    }

    function unregisterOperator(address removedOperator) external onlyGovernance {
        if (!isOperator[removedOperator]) return;
        isOperator[removedOperator] = false;
        emit LogOperatorRemoved(removedOperator);
    }

    /// From here on, the program hash, config hash and cancellation delay cannot change.
    function finalize() external onlyGovernance notFinalized {
        isFinalized = true;
        emit Finalized();
    }

    function _accept(address governor) private {
        require(!starknetIsGovernor[governor], "ALREADY_GOVERNOR");
        starknetIsGovernor[governor] = true;
        emit LogNewGovernorAccepted(governor);
    }
}
