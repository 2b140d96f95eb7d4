/// Two machines to test against: real ones on the loopback interface, or simulated ones.
#pragma once

#include "support/test.hpp"

#include <p2pdvm/host/delayed_network.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <tuple>

namespace worlds {

using namespace p2pdvm;

/// A folder that disappears with its owner.
class temporary_folder {
 public:
  temporary_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "p2pdvm-test-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class native_world {
 public:
  native_world()
      : first_(io_, {folder_.path() + "/first/data"}),
        second_(io_, {folder_.path() + "/second/data"}) {}
  host::machine& first() { return first_; }
  host::machine& second() { return second_; }
  static address first_ip() { return address::loopback(0); }
  static address second_ip() { return address::loopback(0); }
  /// False when the guard ran out: nothing here takes long unless it hangs.
  bool run(const std::function<bool()>& condition) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > guard) return false;
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(100));
    }
    return true;
  }
  /// Long enough for what should not happen to happen.
  void settle() {
    bool over = false;
    first_.clock().call_at(first_.clock().now() + std::chrono::milliseconds(20),
                           [&] { over = true; });
    REQUIRE(run([&] { return over; }));
  }

 private:
  temporary_folder folder_;
  asio::io_context io_;
  native::machine first_;
  native::machine second_;
};

/// The native world with a network that pretends to be slow.
class delayed_world {
 public:
  host::machine& first() { return first_; }
  host::machine& second() { return second_; }
  static address first_ip() { return address::loopback(0); }
  static address second_ip() { return address::loopback(0); }
  bool run(const std::function<bool()>& condition) { return native_.run(condition); }
  void settle() { native_.settle(); }

 private:
  static host::path way(const address&) { return {std::chrono::milliseconds(2), 800'000'000, 800'000'000}; }
  native_world native_;
  host::delayed_network slow_first_{native_.first().network(), native_.first().clock(), way};
  host::delayed_network slow_second_{native_.second().network(), native_.second().clock(), way};
  host::machine_with_network first_{native_.first(), slow_first_};
  host::machine_with_network second_{native_.second(), slow_second_};
};

class simulated_world {
 public:
  host::machine& first() { return first_; }
  host::machine& second() { return second_; }
  address first_ip() { return first_.address(); }
  address second_ip() { return second_.address(); }
  bool run(const std::function<bool()>& condition) {
    return simulation_.run_until(condition, simulation_.now() + std::chrono::hours(1));
  }
  void settle() { simulation_.run_for(std::chrono::seconds(1)); }

 private:
  static sim::options how() {
    sim::options o;
    o.seed = 11;
    o.profile = sim::latency_profile::planetlab;
    o.conditions = sim::conditions_of(sim::latency_profile::lan);  // no lost datagrams
    return o;
  }
  sim::simulation simulation_{how()};
  sim::machine& first_ = simulation_.add_machine();
  sim::machine& second_ = simulation_.add_machine();
};

using networks = std::tuple<native_world, delayed_world, simulated_world>;

inline byte_vector pattern(std::size_t size, std::uint64_t seed) {
  random_generator random(seed);
  byte_vector bytes(size);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace worlds
