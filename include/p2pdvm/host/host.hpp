/// The seam to the outside: time, randomness, network and disk of the machine a peer runs on.
///
/// Everything above this layer is free of nondeterminism. `host/native` implements these
/// interfaces with real sockets and files, `sim` with virtual ones. All calls and all
/// handlers of one host run one at a time (natively under the peer's driver token), so
/// protocol code needs no locks. A handler may call back into the host; the host never
/// calls a handler from inside a call that the handler's owner makes.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/host/lane.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::host {

using timer_id = std::uint64_t;  ///< never 0

class clock {
 public:
  virtual ~clock() = default;
  /// Monotonic; may be read from any thread.
  [[nodiscard]] virtual time_point now() const = 0;
  /// Seconds since 1970; may jump. Only for expiry dates.
  [[nodiscard]] virtual unix_seconds wall() const = 0;
  /// Calls `action` once, not before `when`, never from inside this call.
  virtual timer_id call_at(time_point when, std::function<void()> action) = 0;
  /// No effect when the timer has fired. After it returns the action will not run.
  virtual void cancel(timer_id timer) = 0;
};

class entropy {
 public:
  virtual ~entropy() = default;
  /// Natively from the system's generator, fit for keys; simulated from the seed.
  virtual void fill(byte_span out) = 0;
  [[nodiscard]] std::uint64_t next() {
    std::uint64_t value = 0;
    fill(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
};

/// Unreliable, unordered, at most `limits::datagram_bytes_max` bytes at a time.
class datagram_socket {
 public:
  virtual ~datagram_socket() = default;  ///< closes; its handler is not called afterwards
  [[nodiscard]] virtual address local() const = 0;
  /// Never blocks; drops silently when the system cannot take it.
  virtual void send(const address& to, byte_view bytes) = 0;
};

class datagram_handler {
 public:
  /// `bytes` is valid during the call.
  virtual void on_datagram(const address& from, byte_view bytes) = 0;
  /// A hint, which only a simulator of many machines gives: after a few other events this
  /// handler, or a timer of its machine, will be called. Each call, with 0 to `stages` - 1, may
  /// follow pointers into memory that the one before has begun to fetch.
  virtual void expect(unsigned stage) const noexcept { static_cast<void>(stage); }
  static constexpr unsigned stages = 6;

 protected:
  ~datagram_handler() = default;
};

/// A reliable byte stream (TCP). Nothing is delivered before `start()`.
class stream {
 public:
  virtual ~stream() = default;  ///< resets the connection; no handler call afterwards
  [[nodiscard]] virtual address local() const = 0;
  [[nodiscard]] virtual address remote() const = 0;
  /// Begins delivery to `handler`, which must outlive the stream.
  virtual void start(class stream_handler& handler) = 0;
  /// Queues bytes; writes before `on_open` are kept. Never blocks. The owner bounds the
  /// queue by watching `unsent()` and waiting for `on_drained()`.
  virtual void write(byte_vector bytes) = 0;
  [[nodiscard]] virtual std::size_t unsent() const = 0;
  /// Memory of a write that is done with, for the next one; empty when there is none.
  [[nodiscard]] virtual byte_vector spare() { return {}; }
  /// The shortest round trip of late, where the system measures it.
  [[nodiscard]] virtual std::optional<duration> round_trip() const { return std::nullopt; }
  /// While paused, no `on_data` call is made and the remote is held back.
  virtual void pause(bool paused) = 0;
};

class stream_handler {
 public:
  virtual void on_open() {}  ///< an outgoing connection is established
  virtual void on_data(byte_view bytes) = 0;
  virtual void on_drained() {}  ///< `unsent()` fell to zero
  /// The last call. `why.code()` is `errc::closed` for an orderly end by the remote,
  /// `unreachable` when a connection was refused or could not be made. The stream may be
  /// destroyed from inside this call and from inside `on_data`.
  virtual void on_closed(const error& why) = 0;

 protected:
  ~stream_handler() = default;
};

class listener {
 public:
  virtual ~listener() = default;  ///< stops listening; no handler call afterwards
  [[nodiscard]] virtual address local() const = 0;
};

class listen_handler {
 public:
  virtual void on_accept(std::unique_ptr<stream> connection) = 0;

 protected:
  ~listen_handler() = default;
};

class network {
 public:
  virtual ~network() = default;
  /// Port 0 lets the host choose one. Errors: `address_in_use`, `io`.
  virtual result<std::unique_ptr<datagram_socket>> open_datagrams(const address& local,
                                                                  datagram_handler& handler) = 0;
  virtual result<std::unique_ptr<listener>> listen(const address& local,
                                                   listen_handler& handler) = 0;
  /// Always gives a stream; failures arrive as `on_closed` after `start()`.
  virtual std::unique_ptr<stream> connect(const address& remote) = 0;
  /// Addresses (port 0) by which others may reach this machine, the likeliest first,
  /// loopback last.
  [[nodiscard]] virtual std::vector<address> interfaces() const = 0;
};

/// An open file. Writes go to the system at once and are durable only after `sync`.
class file {
 public:
  virtual ~file() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// Errors: `no_space`, `io`. A failed write may have written a part.
  virtual result<> write(std::uint64_t offset, byte_view bytes) = 0;
  /// Bytes read; fewer than asked for only at the end of the file. Errors: `corrupted` when the
  /// medium has lost some of these bytes for good, `io` for what may be better next time.
  virtual result<std::size_t> read(std::uint64_t offset, byte_span into) = 0;
  /// Growing takes the space at once where the file system can; what is new reads as zeros. Errors: `no_space`, `io`.
  virtual result<> truncate(std::uint64_t size) = 0;
  /// Makes earlier writes durable and then calls `done` (not from inside this call).
  /// After an error nothing written since the last success may be relied on.
  /// Destroying the file drops pending callbacks.
  virtual void sync(std::function<void(result<>)> done) = 0;
};

/// Files below one folder of this peer; paths are relative, with '/' between parts.
class disk {
 public:
  virtual ~disk() = default;
  /// Opens for reading and writing; creates missing files and folders when `create`.
  virtual result<std::unique_ptr<file>> open(std::string_view path, bool create) = 0;
  /// Names in a folder, sorted; an absent folder is empty.
  virtual result<std::vector<std::string>> list(std::string_view folder) = 0;
  virtual result<> remove(std::string_view path) = 0;
  /// Replaces `path` by `bytes` so that after a crash either the old or the new content
  /// is there, whole; blocks until durable. For small, rare files only.
  virtual result<> replace(std::string_view path, byte_view bytes) = 0;
  /// The whole content; `too_large` when over `bytes_max`, `not_found` when absent.
  virtual result<byte_vector> read_all(std::string_view path, std::size_t bytes_max) = 0;
  /// What a person would type to find `path`.
  [[nodiscard]] virtual std::string describe(std::string_view path) const = 0;
};

/// Other cores, for what takes long and needs nothing of the peer.
class workers {
 public:
  virtual ~workers() = default;
  /// How many works can run at once, at least 1.
  [[nodiscard]] virtual unsigned count() const = 0;
  enum class length : std::uint8_t {
    brief,  ///< a millisecond or two: may hold up a driver
    any,
  };
  /// Runs `work` on a thread of its own, at some time; it may touch nothing that handlers write, and must not throw. Then calls `done`,
  /// as any handler. Destroying the machine waits for a work that runs, and drops the rest.
  virtual void run(length takes, std::function<void()> work, std::function<void()> done) = 0;
  /// Runs a brief one of the works that wait here and now, if there is one, and what follows it. For who drives the machine and
  /// has nothing else to do.
  virtual bool help() = 0;
  /// Cores that nobody computes on at present besides these works, as far as can be told; cheap to ask.
  [[nodiscard]] virtual unsigned idle() = 0;
  /// Calls `part(0)` to `part(parts - 1)`, each once, here and on threads that have nothing to do; returns when all have returned.
  /// The same rules as for a work of `run`, and each part is brief.
  virtual void share(std::size_t parts, const std::function<void(std::size_t)>& part) = 0;
};

/// One machine. References stay valid as long as the machine.
class machine {
 public:
  virtual ~machine() = default;
  virtual host::clock& clock() = 0;
  virtual host::entropy& entropy() = 0;
  virtual host::network& network() = 0;
  virtual host::disk& disk() = 0;
  /// Ways to other processes of the same computer; null where there are none.
  virtual host::neighbourhood* neighbours() { return nullptr; }
  /// Null where there are none: then whoever has work does it by itself, in small pieces.
  virtual host::workers* workers() { return nullptr; }
};

}  // namespace p2pdvm::host
