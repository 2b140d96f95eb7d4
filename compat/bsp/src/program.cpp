#include "program.hpp"

#include <p2pdvm/wire/codec.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <numeric>
#include <system_error>
#include <utility>

namespace p2pdvm::c_bsp {

void refuse(const std::string& sentence) { bsp::detail::refuse(sentence); }

program& here() noexcept {
  static program* const one = new program;  // programs call until they end
  return *one;
}

// --- beginning and end ---

void program::take_part() {
  if (phase_ != phase::before) return;
  compat::c_program::setting s;
  s.name = "bsp";
  s.closing = [this] { world_.reset(), all_.reset(); };
  peer_.begin(std::move(s));
  phase_ = phase::available;
  std::atexit([] { here().leave(); });
}

/// A program may ask how many processes there are, and do without them. Whoever begins all the same is told.
void program::leave() {
  if (phase_ != phase::available) return;
  phase_ = phase::after;
  all_.emplace(peer_.rank());
  all_.reset();
  (void)peer_.end();
}

void program::init(void (*spmd)(), const place&) {
  if (phase_ != phase::before) refuse("it is called first, and once");
  take_part();
  if (pid() == 0) return;
  spmd();
  std::exit(0);
}

/// What the first process asks for counts: the others may never have come to where it is set.
int program::agreed(int most, const place& where) {
  all_.emplace(peer_.rank());
  for (int r = 0; r < all_->size() && pid() == 0; ++r) all_->add_send(r, 0, bytes_of(most), sizeof most, where);
  peer_->run(all_->leave_together(where, {"bsp_begin", -1, 0, true, {}}));
  return all_->messages().front().value<int>();
}

void program::begin(int most, const place& where) {
  if (phase_ == phase::parallel || phase_ == phase::after) refuse("it is called once");
  take_part();
  most = agreed(most, where);
  if (most < 1) refuse(fmt::format("there cannot be {} processes", most));
  bsp::detail::world_setting how;
  how.members.resize(static_cast<std::size_t>(std::min(most, peer_.rank().size())));
  std::iota(how.members.begin(), how.members.end(), 0);
  if (peer_.rank().id() >= static_cast<int>(how.members.size())) {
    // Nobody needs this one: it is there until the others have ended.
    peer_.attend();
    phase_ = phase::after;
    if (const auto wrong = peer_.end()) abort(*wrong);
    std::exit(0);
  }
  world_.emplace(peer_.rank(), std::move(how));
  phase_ = phase::parallel;
  begun_ = peer_.rank().now();
}

void program::end(const place& where) {
  check_running();
  peer_->run(world_->leave_together(where, {"bsp_end after superstep", static_cast<std::int64_t>(world_->supersteps()), 0, true, {}}));
  begun_ = seconds();
  if (pid() == 0) peer_.dismiss(world_->size());
  phase_ = phase::after;
  if (const auto wrong = peer_.end()) refuse(*wrong);
}

void program::abort(const std::string& sentence) { peer_.abort(EXIT_FAILURE, sentence); }

void program::check_running() const {
  if (phase_ == phase::parallel) return;
  refuse(phase_ == phase::after ? "it was called after bsp_end" : "it was called before bsp_begin");
}

int program::processes() {
  if (phase_ == phase::after) return processes_;
  take_part();
  return processes_ = world_ ? world_->size() : peer_.rank().size();
}

int program::pid() {
  static int number = 0;  // also after the end
  if (phase_ == phase::before) refuse("it was called before bsp_begin");
  if (peer_.running()) number = peer_.rank().id();
  return number;
}

double program::seconds() const { return phase_ == phase::parallel ? const_cast<program&>(*this).peer_.rank().now() - begun_ : begun_; }

// --- what all agree on at the end of a superstep ---

/// The changes of all ranks: those of the first one, where they do not differ.
class program::agreement final : public bsp::detail::pending_fold {
 public:
  agreement(program& of, const changes& mine) : of_(of), mine_(wire::encode(mine)) {}
  [[nodiscard]] byte_view mine() const override { return mine_; }

  void add(int source, byte_view value) override {
    auto decoded = wire::decode<changes>(value);
    if (!decoded.ok()) refuse("a message of rank " + std::to_string(source) + " is damaged");
    if (source == 0) {
      agreed_ = std::move(*decoded);
      named_by_.assign(agreed_.list.size(), 0);
      return;
    }
    compare(source, *decoded);
  }
  void finish() override { of_.apply(agreed_); }

 private:
  static std::string times(std::size_t n) { return n == 1 ? "once" : fmt::format("{} times", n); }
  [[nodiscard]] std::string in_superstep() const { return fmt::format(" in superstep {}", of_.world_->supersteps()); }

  void compare(int source, const changes& theirs) {
    const auto count = [](const changes& c, bool pops) {
      return static_cast<std::size_t>(std::count_if(c.list.begin(), c.list.end(), [&](const auto& x) { return x.pops == pops; }));
    };
    for (const bool pops : {false, true}) {
      const std::size_t first = count(agreed_, pops), other = count(theirs, pops);
      if (first != other)
        refuse(fmt::format("rank 0 called {} {}{}, and rank {} {}", pops ? "bsp_pop_reg" : "bsp_push_reg", times(first), in_superstep(), source, times(other)));
    }
    if (agreed_.tag_sizes != theirs.tag_sizes)
      refuse(fmt::format("rank 0 called bsp_set_tagsize {}{}, and rank {} {}", times(agreed_.tag_sizes), in_superstep(), source, times(theirs.tag_sizes)));
    if (agreed_.tag_bytes != theirs.tag_bytes)
      refuse(fmt::format("rank 0 gives tags a size of {}{}, and rank {} one of {}", agreed_.tag_bytes, in_superstep(), source, theirs.tag_bytes));
    for (std::size_t i = 0; i < theirs.list.size(); ++i) {
      auto& all = agreed_.list[i];
      const auto& one = theirs.list[i];
      if (all.pops != one.pops)
        refuse(fmt::format("rank 0 and rank {} do not call bsp_push_reg and bsp_pop_reg{} in the same order", source, in_superstep()));
      if (!all.pops) continue;
      std::vector<std::uint32_t> both;
      std::set_intersection(all.numbers.begin(), all.numbers.end(), one.numbers.begin(), one.numbers.end(), std::back_inserter(both));
      if (both.empty()) {
        const bool certain = all.numbers.size() == 1 && one.numbers.size() == 1;
        refuse(certain ? fmt::format("rank {} takes the {} registration back{}, and rank {} the {}", named_by_[i], ordinal(all.numbers.front()),
                                     in_superstep(), source, ordinal(one.numbers.front()))
                       : fmt::format("rank {} takes memory back{} that was not registered together with any that ranks before it take back", source,
                                     in_superstep()));
      }
      if (both.size() < all.numbers.size()) named_by_[i] = source;
      all.numbers = std::move(both);
    }
  }
  static std::string ordinal(std::uint32_t number) {
    const std::uint32_t n = number + 1;
    const char* const end = n % 100 / 10 == 1 ? "th" : n % 10 == 1 ? "st" : n % 10 == 2 ? "nd" : n % 10 == 3 ? "rd" : "th";
    return std::to_string(n) + end;
  }

  program& of_;
  byte_vector mine_;
  changes agreed_;
  std::vector<int> named_by_;
};

void program::sync(const place& where) {
  check_running();
  changes_.tag_bytes = changes_.tag_sizes == 0 ? tag_bytes_ : changes_.tag_bytes;
  world_->add_fold(std::make_unique<agreement>(*this, changes_));
  peer_->run(world_->sync_at(where, {"bsp_sync of superstep", static_cast<std::int64_t>(world_->supersteps()), 0, true, {}}));
  copies_.clear();
  removed_ = queued_bytes_ = 0;
  for (const bsp::message& m : world_->messages()) queued_bytes_ += m.bytes().size() - static_cast<std::size_t>(m.tag());
}

void program::apply(const changes& agreed) {
  std::size_t pushed = 0;
  for (const changes::change& c : agreed.list) {
    if (!c.pops) {
      auto& r = pushed_[pushed++];
      r->slot = world_->add_registration(*r);
      registrations_.push_back(std::move(r));
      continue;
    }
    // The last one that all can mean, and that is still there.
    const auto meant = std::find_if(registrations_.rbegin(), registrations_.rend(), [&](const auto& r) {
      return std::binary_search(c.numbers.begin(), c.numbers.end(), r->number);
    });
    if (meant == registrations_.rend()) refuse("NULL is taken back more often than it was registered by all");
    world_->remove_registration((*meant)->slot);
    registrations_.erase(std::next(meant).base());
  }
  pushed_.clear();
  tag_bytes_ = static_cast<std::size_t>(agreed.tag_bytes);
  changes_ = {};
}

// --- memory that others reach ---

void program::push(const void* ident, std::size_t bytes) {
  check_running();
  if (ident == nullptr && bytes != 0) refuse(fmt::format("NULL is registered with a size of {} bytes", bytes));
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX)) refuse("the size is negative");
  pushed_.push_back(std::make_unique<registration>(ident, bytes, pushes_));
  changes_.list.push_back({false, {pushes_++}});
}

std::vector<std::uint32_t> program::numbers_of(const void* ident) const {
  std::vector<std::uint32_t> numbers;
  for (const auto* list : {&registrations_, &pushed_}) {
    for (const auto& r : *list) {
      if (r->ident == ident) numbers.push_back(r->number);
    }
  }
  if (ident == nullptr) return numbers;
  for (const changes::change& c : changes_.list) {
    if (c.pops && c.numbers.size() == 1) std::erase(numbers, c.numbers.front());
  }
  return numbers;
}

void program::pop(const void* ident) {
  check_running();
  std::vector<std::uint32_t> numbers = numbers_of(ident);
  if (numbers.empty()) refuse("this memory is not registered, or its registration was taken back before");
  if (ident != nullptr) numbers = {numbers.back()};
  changes_.list.push_back({true, std::move(numbers)});
}

const program::registration& program::registered(const void* ident) const {
  for (auto r = registrations_.rbegin(); r != registrations_.rend(); ++r) {
    if ((*r)->ident == ident) return **r;
  }
  const bool soon = std::any_of(pushed_.begin(), pushed_.end(), [&](const auto& r) { return r->ident == ident; });
  refuse(soon ? "this memory is registered from the next superstep on" : "this memory is not registered");
}

void program::put(int pid, const void* from, const void* to, std::size_t offset, std::size_t bytes, const place& where) {
  check_running();
  if (bytes == 0) return;
  world_->add_put(pid, registered(to).slot, offset, {static_cast<const std::byte*>(from), bytes}, 1, where);
}

namespace {

class get_into final : public bsp::detail::pending_get {
 public:
  explicit get_into(void* to) : to_(to) {}
  void write(byte_view data) override { std::memcpy(to_, data.data(), data.size()); }

 private:
  void* to_;
};

}  // namespace

void program::get(int pid, const void* from, std::size_t offset, void* to, std::size_t bytes, const place& where) {
  check_running();
  if (bytes == 0) return;
  world_->add_get(pid, registered(from).slot, offset, bytes, 1, std::make_unique<get_into>(to), where);
}

// --- messages: their data, and behind it their tag, of a size that stands for the tag of the world's message ---

std::size_t program::set_tag_bytes(std::size_t bytes) {
  check_running();
  if (bytes > static_cast<std::size_t>(PTRDIFF_MAX)) refuse("the size is negative");
  const std::uint64_t before = std::exchange(changes_.tag_bytes, bytes);
  return changes_.tag_sizes++ == 0 ? tag_bytes_ : static_cast<std::size_t>(before);
}

void program::send(int pid, const void* tag, const void* data, std::size_t bytes, const place& where) {
  check_running();
  world_->add_send(pid, static_cast<std::int64_t>(tag_bytes_), {static_cast<const std::byte*>(data), bytes}, 1, where,
                   {static_cast<const std::byte*>(tag), tag_bytes_});
}

program::queue_size program::queued() const {
  check_running();
  return {world_->messages().size() - removed_, queued_bytes_};
}

std::optional<program::front_message> program::front() const {
  check_running();
  if (removed_ == world_->messages().size()) return std::nullopt;
  const bsp::message& m = world_->messages()[removed_];
  const std::size_t tag = static_cast<std::size_t>(m.tag()), bytes = m.bytes().size() - tag;
  return front_message{m.bytes().data(), bytes, m.bytes().data() + bytes, tag};
}

void program::remove_front() {
  queued_bytes_ -= front()->bytes;
  ++removed_;
}

void* program::aligned(const std::byte* bytes, std::size_t count) {
  if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(word) == 0) return const_cast<std::byte*>(bytes);
  auto& copy = copies_.emplace_back(std::make_unique_for_overwrite<word[]>(count / sizeof(word) + 1));
  std::memcpy(copy.get(), bytes, count);
  return copy.get();
}

}  // namespace p2pdvm::c_bsp

namespace p2pdvm::compat {

std::optional<checkpointed> checkpointed_here() { return c_bsp::here().checkpointed(); }

}  // namespace p2pdvm::compat
