/// A whole peer on the real machine, with a thread of its own.
// lint-allow-file(asio-include): it composes a peer, as the runtime does.
#pragma once

#include "messaging/cutting_proxy.hpp"
#include "support/test.hpp"

#include <p2pdvm/host/delayed_network.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace p2pdvm::test {

/// It disappears with its owner.
class temporary_folder {
 public:
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  temporary_folder() {
    path = (std::filesystem::temp_directory_path() / "p2pdvm-test-XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

[[nodiscard]] inline std::string result_named(const std::optional<result<runtime::job_results>>& outcome,
                                              const std::string& name) {
  if (!outcome) return "the job did not end";
  if (!outcome->ok()) return outcome->error().message();
  const auto found = (*outcome)->find(name);
  return found == (*outcome)->end() ? "no " + name : std::string(as_text(found->second));
}

/// Stops by itself when its job has not ended after a minute.
class real_peer {
 public:
  using begin = std::function<result<>(runtime::peer&)>;
  using listen_to = std::function<void(const runtime::event&)>;
  /// Without `ways` it has no network.
  real_peer(const std::string& folder, proxies* ways, const peal::program& program, listen_to told)
      : machine_(io_, {folder}),
        driver_(io_, ranks_, token_, driving()),
        guard_(io_, std::chrono::seconds(60)) {
    runtime::peer_setting setting;
    if (ways != nullptr) {
      setting.listen = address::loopback(0);
      network_.emplace(machine_.network(), *ways);
      proxied_.emplace(machine_, *network_);
    }
    setting.detector = overlay::detector_options::wan();
    setting.failure_domain = folder;
    setting.shared_memory = false;
    setting.checkpoint_interval = duration::zero();
    runtime::peer::callbacks call;
    call.event = [this, told = std::move(told)](const runtime::event& e) {
      recovered |= e.kind == runtime::event_kind::recovering;
      if (told) told(e);
    };
    call.ended = [this](const result<runtime::job_results>& r) { outcome = r; };
    call.may_go = [this] { driver_.stop(); };
    host::machine& machine = ways != nullptr ? *proxied_ : static_cast<host::machine&>(machine_);
    peer_.emplace(machine, ranks_, token_, program, setting, call);
    guard_.async_wait([this](const asio::error_code& ec) {
      if (!ec) driver_.stop();
    });
  }
  void start(const begin& how) {
    {
      const std::lock_guard held(token_);
      REQUIRE(peer_->open().ok());
      REQUIRE(how(*peer_).ok());
    }
    thread_ = std::thread([this] { driver_.run(); });
  }
  void join() {
    thread_.join();
    const std::lock_guard held(token_);
    peer_.reset();
  }
  /// What the job gave by this name, or a sentence.
  [[nodiscard]] std::string result_named(const std::string& name) const {
    return test::result_named(outcome, name);
  }
  std::optional<result<runtime::job_results>> outcome;
  bool recovered = false;

 private:
  runtime::native_driver::options driving() {
    runtime::native_driver::options o;
    o.polled = &machine_.polled();
    return o;
  }
  asio::io_context io_;
  queue_context ranks_;
  driver_token token_;
  native::machine machine_;
  std::optional<proxied_network> network_;
  std::optional<host::machine_with_network> proxied_;
  runtime::native_driver driver_;
  asio::steady_timer guard_;
  std::optional<runtime::peer> peer_;
  std::thread thread_;
};

}  // namespace p2pdvm::test
