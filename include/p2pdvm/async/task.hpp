/// The one coroutine type of p2pdvm.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

namespace p2pdvm {

/// A lazily started coroutine. Being Asio's own type, it can `co_await` any Asio operation.
template <class T = void>
using task = asio::awaitable<T>;

}  // namespace p2pdvm
