/// A few peers with holders, a shuffling network in virtual time and a log in memory.
#pragma once

#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/genuine_receipts.hpp>
#include <p2pdvm/store/holder.hpp>
#include <p2pdvm/store/placement.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace store_test {

using namespace p2pdvm;
using namespace p2pdvm::store;

class test_log final : public chunk_log {
 public:
  std::map<chunk_id, byte_vector> chunks;
  std::map<pin, std::set<chunk_id>> pin_sets;
  std::uint64_t capacity = ~0ull;
  bool sync_fails = false;
  std::optional<chunk_id> rotten;  ///< its next `get` finds it unreadable
  std::size_t puts = 0;
  std::function<void(std::function<void()>)> later;  ///< runs an action after the disk's delay

  void damage(const chunk_id& id) { chunks.at(id).back() ^= std::byte{1}; }

  bool contains(const chunk_id& id) const override { return chunks.count(id) != 0; }
  result<> put(const chunk_id& id, byte_view sealed) override {
    if (contains(id)) return {};
    if (live_bytes() + sealed.size() > capacity) return error(errc::no_space, "the disk is full");
    ++puts;
    chunks[id] = to_vector(sealed);
    return {};
  }
  result<payload> get(const chunk_id& id) override {
    if (!contains(id)) return error(errc::not_found);
    if (rotten == id) {
      rotten.reset();
      chunks.erase(id);
      return error(errc::corrupted, "rotten");
    }
    if (!chunk_codec::intact(chunks.at(id))) {
      chunks.erase(id);
      return error(errc::corrupted, "damaged");
    }
    return payload::copy_of(chunks.at(id));
  }
  result<> add_pin(const pin& p, const std::vector<chunk_id>& ids) override {
    for (const chunk_id& id : ids) REQUIRE(contains(id));
    pin_sets[p].insert(ids.begin(), ids.end());
    return {};
  }
  result<> drop_pin(const pin& p) override {
    pin_sets.erase(p);
    std::erase_if(chunks, [&](const auto& chunk) {
      for (const auto& [name, ids] : pin_sets) {
        if (ids.count(chunk.first) != 0) return false;
      }
      return true;
    });
    return {};
  }
  std::vector<pin> pins() const override {
    std::vector<pin> list;
    for (const auto& [name, ids] : pin_sets) list.push_back(name);
    return list;
  }
  std::vector<chunk_id> pinned(const pin& p) const override {
    const auto found = pin_sets.find(p);
    if (found == pin_sets.end()) return {};
    return {found->second.begin(), found->second.end()};
  }
  result<> put_value(std::string_view, byte_view) override { return {}; }
  result<byte_vector> get_value(std::string_view) override { return error(errc::not_found); }
  void sync(std::function<void(result<>)> done) override {
    later([done, fails = sync_fails] {
      done(fails ? result<>(error(errc::io, "the disk is broken")) : result<>());
    });
  }
  std::uint64_t live_bytes() const override {
    std::uint64_t sum = 0;
    for (const auto& [id, sealed] : chunks) sum += sealed.size();
    return sum;
  }
};

struct peer {
  crypto::identity identity;
  test_log log;
  std::unique_ptr<store::holder> holder;
  bool alive = true;
  duration slowness{};
  time_point last_request{}, last_answer{};  ///< arrival of the latest, each way
  explicit peer(const crypto::secret_key& seed) : identity(seed) {}
};

/// Delivers what holders send to `inbox`, as if one client peer asked them all.
class world {
 public:
  std::vector<std::unique_ptr<peer>> peers;
  std::function<void(const node_id& from, const store_message&)> inbox;
  random_generator random;
  time_point now{};
  std::size_t chunks_put = 0;  ///< that reached a holder
  std::size_t messages_lost_of_100 = 0;
  bool reorders = false;  ///< sessions keep order; protocols must end well even without
  crypto::identity client;
  store::genuine_receipts genuine;  ///< what the client has verified

  world(std::size_t count, std::uint64_t seed) : random(seed), client(seed_key(999)) {
    for (std::size_t i = 0; i < count; ++i) {
      peers.push_back(std::make_unique<peer>(seed_key(i + 1)));
      peer& p = *peers.back();
      p.log.later = [this, &p](std::function<void()> action) {
        at(duration(random.below(2'000'000)), [&p, action] {
          if (p.alive) action();
        });
      };
      p.holder = std::make_unique<store::holder>(
          p.log, p.identity, [this, &p](const node_id& to, store_message message) {
            REQUIRE(to == client.id());
            carry(p, p.last_answer, std::move(message), [this, &p](const store_message& m) {
              if (inbox) inbox(p.identity.id(), m);
            });
          });
      p.holder->follow(job_id(), {}, {}, {});
    }
  }

  static crypto::secret_key seed_key(std::size_t n) {
    crypto::secret_key key;
    key.mutable_bytes()[0] = std::byte(n & 0xff);
    key.mutable_bytes()[1] = std::byte(n >> 8);
    return key;
  }

  std::vector<member> members() const {
    std::vector<member> list;
    for (const auto& p : peers) {
      if (p->alive)
        list.push_back({p->identity.id(), p->identity.key(), p->identity.id().hex(), 1});
    }
    return list;
  }
  peer& by_id(const node_id& id) {
    for (auto& p : peers) {
      if (p->identity.id() == id) return *p;
    }
    FAIL("no such peer");
    return *peers.front();
  }

  /// From the client to a holder.
  void send(const node_id& to, store_message message) {
    peer& p = by_id(to);
    carry(p, p.last_request, std::move(message), [this, &p](const store_message& m) {
      if (const auto* put = std::get_if<put_chunks>(&m)) chunks_put += put->chunks.size();
      p.holder->on_message(now, client.id(), m);
    });
  }

  void at(duration delay, std::function<void()> action) {
    events_.emplace(std::pair(now + delay, next_event_++), std::move(action));
  }

  /// Runs `machine` (a replicator or fetcher) until it is finished.
  template <class Machine>
  void run(Machine& machine) {
    inbox = [&](const node_id& from, const store_message& m) { machine.on_message(now, from, m); };
    for (std::size_t steps = 0; !machine.finished(); ++steps) {
      REQUIRE(steps < 200000);
      const time_point timer = machine.next_timer();
      if (events_.empty() || timer < events_.begin()->first.first) {
        REQUIRE(timer != time_point_never);
        now = std::max(now, timer);
        machine.on_timer(now);
      } else {
        step();
      }
    }
    inbox = nullptr;
    while (!events_.empty()) step();
  }

  /// Delivers until nothing is under way.
  void drain() {
    while (!events_.empty()) step();
  }

 private:
  void step() {
    auto event = events_.extract(events_.begin());
    now = event.key().first;
    event.mapped()();
  }
  void carry(peer& p, time_point& last, store_message message,
             std::function<void(const store_message&)> deliver) {
    if (!p.alive || random.below(100) < messages_lost_of_100) return;
    auto read = read_store_message(wire::encode(message));
    REQUIRE(read.ok());
    const duration delay(1'000'000 + static_cast<std::int64_t>(random.below(50'000'000)));
    time_point arrival = now + delay + p.slowness;
    if (!reorders) arrival = std::max(arrival, last);
    last = arrival;
    at(arrival - now, [&p, deliver, m = std::move(*read)] {
      if (p.alive) deliver(m);
    });
  }

  std::map<std::pair<time_point, std::uint64_t>, std::function<void()>> events_;
  std::uint64_t next_event_ = 0;
};

}  // namespace store_test
