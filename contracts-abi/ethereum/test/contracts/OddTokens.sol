// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// Tokens that break one expectation each. For the tests of the bridge only.
abstract contract OddToken {
    mapping(address => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    /// No allowances: whether the bridge may move the tokens is not what these tokens are about.
    function _move(address from, address to, uint256 amount) internal {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// Answers nothing, as some of the largest tokens do.
contract SilentToken is OddToken {
    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }
}

/// Answers false and moves nothing, instead of reverting.
contract RefusingToken is OddToken {
    function transferFrom(address, address, uint256) external pure returns (bool) {
        return false;
    }
}

/// Keeps one percent of whatever is moved.
contract FeeToken is OddToken {
    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        _move(from, to, amount);
        balanceOf[to] -= amount / 100;
        return true;
    }
}

/// Calls `target` with `data` while tokens are on their way in.
contract ReentrantToken is OddToken {
    address public target;
    bytes public data;

    function arm(address newTarget, bytes calldata newData) external {
        target = newTarget;
        data = newData;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        (bool ok, bytes memory answer) = target.call(data);
        if (!ok) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
        _move(from, to, amount);
        return true;
    }
}

/// What a token may do wrong when the bridge pays: answer false, take more than the amount, or call back.
contract OddPayer is OddToken {
    bool public answer = true;
    uint256 public surplus;
    address public target;
    bytes public data;

    function arm(bool newAnswer, uint256 newSurplus, address newTarget, bytes calldata newData) external {
        (answer, surplus, target, data) = (newAnswer, newSurplus, newTarget, newData);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        _move(from, to, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        if (data.length != 0) {
            (bool ok, bytes memory reason) = target.call(data);
            if (!ok) {
                assembly {
                    revert(add(reason, 32), mload(reason))
                }
            }
        }
        if (!answer) return false;
        _move(msg.sender, to, amount);
        balanceOf[msg.sender] -= surplus;
        return true;
    }
}
