/// A backend for Bulk (jwbuurlage/Bulk) on BSPlib: programs for Bulk, compiled with p2pdvm-bspcxx, run with p2pdvm-bsprun -n N.
///
/// It uses messages only: Bulk's variables can be put to at once, where bsp_push_reg counts from the next superstep on.
#pragma once

#include <bsp.h>

#include <bulk/future.hpp>
#include <bulk/messages.hpp>
#include <bulk/variable.hpp>
#include <bulk/world.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bulk::p2pdvm {

// Before what is public, since all bodies stand in their classes: Bulk's interface is long enough once.
namespace detail {

/// The tags of BSPlib's messages.
struct tag {
  enum class kind : int { records, again, log, leave };
  kind what;
  int number;  ///< of the world; of a log's process
};

using message = std::span<char>;  ///< valid until the end of the superstep

/// One put, get or message of Bulk, or the answer to a get. What it carries follows it.
struct record {
  enum class kind : int { put, put_serialized, send, get, get_serialized, answer, answer_serialized };
  kind what;
  int id;      ///< of the variable or queue
  int source;  ///< rank
  std::size_t offset, bytes;
  std::uintptr_t into = 0;  ///< of gets and answers, where it was asked: an address, or the number of a future
  [[nodiscard]] bool asks() const { return what == kind::get || what == kind::get_serialized; }
};

/// BSPlib's parallel part. There is one in a process, whoever spawns, and it ends when the program exits.
class parallel_part {
 public:
  static parallel_part& here() {
    static parallel_part one;  // as BSPlib's
    return one;
  }
  parallel_part(const parallel_part&) = delete;
  ~parallel_part() { bsp_end(); }

  void send(int process, tag about, const void* data = nullptr, std::size_t bytes = 0) { bsp_send(process, &about, data, bytes); }
  void log(const std::string& line) {
    send(0, {tag::kind::log, bsp_pid()}, line.data(), line.size());
    logged_ += '\n' + line;
  }

  /// Ends the superstep. Gives what came for the world of that number.
  std::vector<message> step(int number) {
    bsp_sync();
    logged_.clear();
    again_ = left_ = false;
    std::vector<message> received;
    void *about, *data;
    for (long bytes; (bytes = bsp_hpmove(&about, &data)) >= 0;) {
      tag t;
      std::memcpy(&t, about, sizeof t);
      const message m{static_cast<char*>(data), static_cast<std::size_t>(bytes)};
      again_ = again_ || t.what == tag::kind::again;
      left_ = left_ || t.what == tag::kind::leave;
      if (t.what == tag::kind::log) on_log(t.number, {m.begin(), m.end()});
      if (t.what != tag::kind::records) continue;
      if (t.number != number) bsp_abort("Bulk: worlds %d and %d sync at once; parts of a world do it equally often", t.number, number);
      received.push_back(m);
    }
    return received;
  }
  /// In the last step somebody asked something, in any world: another step brings answers. All processes agree on it.
  [[nodiscard]] bool again() const { return again_; }
  /// The others have ended what they were spawned for.
  [[nodiscard]] bool left() const { return left_; }
  /// Nobody has seen it yet.
  [[nodiscard]] const std::string& logged() const { return logged_; }
  std::function<void(int, const std::string&)> on_log;

 private:
  parallel_part() {
    bsp_begin(bsp_nprocs());
    int bytes = sizeof(tag);
    bsp_set_tagsize(&bytes);
    bsp_sync();
  }

  bool again_ = false, left_ = false;
  std::string logged_;
};

}  // namespace detail

/// Supersteps of BSPlib are those of all processes: the parts of a world that was split must call sync or barrier equally often.
class world : public bulk::world {
  using record = detail::record;
  using kind = record::kind;

 public:
  /// `members` are the processes that take part, by their ranks in it; `number` is the same on all of them.
  world(detail::parallel_part& part, std::vector<int> members, int rank, int number)
      : part_(part), members_(std::move(members)), rank_(rank), number_(number), asked_(members_.size()), answers_(members_.size()) {}

  int active_processors() const override { return static_cast<int>(members_.size()); }
  int rank() const override { return rank_; }

  /// Gets are answered before anything is written. Where nobody gets anything it is one superstep, and otherwise two.
  void sync(bool clear_queues = true) override {
    send(asked_);
    for (int p = 0; gets_ && p < bsp_nprocs(); ++p) part_.send(p, {detail::tag::kind::again, 0});
    gets_ = false;
    const auto asked = part_.step(number_);
    for (const auto& q : queues_) {
      if (clear_queues) q.second->clear_();
    }
    for_each_record(asked, [this](const record& r, char*) { answer(r); });
    for_each_record(asked, [this](const record& r, char* payload) { write(r, payload); });
    if (!part_.again()) return;
    send(answers_);
    for_each_record(part_.step(number_), [this](const record& r, char* payload) { write(r, payload); });
  }

  void barrier() override {
    part_.step(number_);
    if (part_.again()) part_.step(number_);
  }

  void abort() override { bsp_abort("Bulk: rank %d called abort%s", rank_, part_.logged().c_str()); }

  std::unique_ptr<bulk::world> split(int part) override {
    const int mine[] = {rank_, part, next_};
    for (const int m : members_) part_.send(m, {detail::tag::kind::records, number_}, mine, sizeof mine);
    std::vector<int> processes;  // they answer in their order
    int rank = 0;
    for (const detail::message& m : part_.step(number_)) {
      int theirs[3];
      std::memcpy(theirs, m.data(), sizeof theirs);
      next_ = std::max(next_, theirs[2]);
      if (theirs[1] != part) continue;
      if (theirs[0] == rank_) rank = static_cast<int>(processes.size());
      processes.push_back(members_[static_cast<std::size_t>(theirs[0])]);
    }
    if (part_.again()) part_.step(number_);
    return std::make_unique<world>(part_, std::move(processes), rank, next_++);
  }

 protected:
  // Variables and queues are made in the same order everywhere, so their numbers agree. None is given twice: what is put into a variable
  // that has ended must not find another one.
  int register_variable_(var_base* v) override {
    const auto [memory, bytes] = v->location_and_size();
    variables_.emplace(next_variable_, variable{v, {static_cast<char*>(memory), bytes}});
    return next_variable_++;
  }
  void unregister_variable_(int id) override { variables_.erase(id); }
  int register_future_(future_base* f) override { return futures_.emplace(next_future_, f), next_future_++; }
  void unregister_future_(future_base* f) override { futures_.erase(f->id()); }
  int register_queue_(queue_base* q) override { return queues_.emplace(next_queue_, q), next_queue_++; }
  void unregister_queue_(int id) override { queues_.erase(id); }

  char* put_buffer_(int to, int id, std::size_t size) override { return ask(to, {kind::put_serialized, id, rank_, 0, size}, size); }
  char* send_buffer_(int to, int id, std::size_t size) override { return ask(to, {kind::send, id, rank_, 0, size}, size); }
  void put_(int to, const void* values, std::size_t size, int id, std::size_t offset, std::size_t count) override {
    std::copy_n(static_cast<const char*>(values), size * count, ask(to, {kind::put, id, rank_, offset * size, count * size}, count * size));
  }
  void get_buffer_(int from, int id, future_base* f) override {
    ask(from, {kind::get_serialized, id, rank_, 0, 0, static_cast<std::uintptr_t>(f->id())}, 0);
  }
  void get_(int from, int id, std::size_t size, void* target, std::size_t offset, std::size_t count) override {
    ask(from, {kind::get, id, rank_, offset * size, count * size, reinterpret_cast<std::uintptr_t>(target)}, 0);
  }
  void log_(std::string message) override { part_.log(message); }

 private:
  /// Bulk's arrays may move away from where they were registered, but their memory stays.
  struct variable {
    var_base* base;
    std::span<char> memory;
  };

  static char* append(std::vector<char>& to, const record& r, std::size_t payload) {
    const std::size_t at = to.size();
    to.resize(at + sizeof r + payload);
    std::memcpy(to.data() + at, &r, sizeof r);
    return to.data() + at + sizeof r;
  }
  char* ask(int rank, const record& r, std::size_t payload) {
    if (rank < 0 || rank >= active_processors()) bsp_abort("Bulk: rank %d calls for rank %d of %d", rank_, rank, active_processors());
    gets_ = gets_ || r.asks();
    return append(asked_[static_cast<std::size_t>(rank)], r, payload);
  }
  void send(std::vector<std::vector<char>>& all) {
    for (std::size_t r = 0; r < all.size(); ++r) {
      if (!all[r].empty()) part_.send(members_[r], {detail::tag::kind::records, number_}, all[r].data(), all[r].size());
      all[r].clear();
    }
  }

  template <class F>
  static void for_each_record(const std::vector<detail::message>& all, F&& f) {
    for (const detail::message& m : all) {
      record r;
      for (std::size_t at = 0; at < m.size(); at += sizeof r + (r.asks() ? 0 : r.bytes)) {
        std::memcpy(&r, &m[at], sizeof r);
        f(r, m.data() + at + sizeof r);
      }
    }
  }
  variable& variable_of(const record& r) {
    const auto found = variables_.find(r.id);
    if (found == variables_.end()) bsp_abort("Bulk: rank %d calls for variable %d, which rank %d does not have", r.source, r.id, rank_);
    const std::size_t size = found->second.memory.size();
    if (r.what != kind::put_serialized && (r.offset > size || r.bytes > size - r.offset))
      bsp_abort("Bulk: rank %d calls for %zu bytes at byte %zu, and rank %d has %zu", r.source, r.bytes, r.offset, rank_, size);
    return found->second;
  }
  void answer(const record& r) {
    if (!r.asks()) return;
    const variable& v = variable_of(r);
    const bool as_it_is = r.what == kind::get;
    const std::size_t bytes = as_it_is ? r.bytes : v.base->serialized_size();
    auto& to = answers_[static_cast<std::size_t>(r.source)];
    char* const payload = append(to, {as_it_is ? kind::answer : kind::answer_serialized, r.id, rank_, 0, bytes, r.into}, bytes);
    if (as_it_is) std::copy_n(v.memory.data() + r.offset, bytes, payload);
    else v.base->serialize(payload);
  }
  void write(const record& r, char* payload) {
    if (r.what == kind::put) std::copy_n(payload, r.bytes, variable_of(r).memory.data() + r.offset);
    if (r.what == kind::put_serialized) variable_of(r).base->deserialize_put(r.bytes, payload);
    if (r.what == kind::answer) std::copy_n(payload, r.bytes, reinterpret_cast<char*>(r.into));
    // Queues and futures may have ended before what was sent to them arrives.
    if (const auto q = queues_.find(r.id); r.what == kind::send && q != queues_.end()) q->second->deserialize_push(r.bytes, payload);
    if (r.what != kind::answer_serialized) return;
    if (const auto f = futures_.find(static_cast<int>(r.into)); f != futures_.end()) f->second->deserialize_get(r.bytes, payload);
  }

  detail::parallel_part& part_;
  std::vector<int> members_;
  int rank_, number_;
  int next_ = number_ + 1;  ///< of the next part of this world
  bool gets_ = false;       ///< since the last sync
  std::vector<std::vector<char>> asked_, answers_;  ///< by rank: records, and what they carry
  int next_variable_ = 0, next_future_ = 0, next_queue_ = 0;
  std::unordered_map<int, variable> variables_;
  std::unordered_map<int, future_base*> futures_;  ///< of this process only
  std::unordered_map<int, queue_base*> queues_;
};

/// All processes run `main`. The first spawn begins BSPlib's only parallel part, which later ones go on with.
class environment : public bulk::environment {
 public:
  /// Collective. With fewer processes than there are, the others are here until it has ended on those.
  void spawn(int processors, std::function<void(bulk::world&)> spmd) override {
    if (processors > bsp_nprocs())
      throw std::invalid_argument("Bulk: spawn for " + std::to_string(processors) + " of " + std::to_string(bsp_nprocs()) + " processes");
    if (processors < 1) return;
    auto& part = detail::parallel_part::here();
    part.on_log = log_;
    if (bsp_pid() >= processors) {
      do part.step(0);
      while (!part.left());
      return;
    }
    std::vector<int> members;
    for (int p = 0; p < processors; ++p) members.push_back(p);
    world all(part, std::move(members), bsp_pid(), 0);
    spmd(all);
    for (int p = processors; bsp_pid() == 0 && p < bsp_nprocs(); ++p) part.send(p, {detail::tag::kind::leave, 0});
    part.step(0);
  }

  int available_processors() const override { return bsp_nprocs(); }
  /// Process 0 calls it, for all.
  void set_log_callback(std::function<void(int, const std::string&)> f) override { log_ = std::move(f); }

 private:
  std::function<void(int, const std::string&)> log_ = [](int, const std::string& line) { std::cout << line << std::endl; };
};

}  // namespace bulk::p2pdvm
