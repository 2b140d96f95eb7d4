#pragma once

#include <p2pdvm/peal/mpi/context.hpp>

#include <string>
#include <utility>

namespace p2pdvm::mpi::detail {

/// A collective of this rank while it runs: its number, and that no safe point may be here; when it is done it tells, the first time, how long it took.
class group::collective {
 public:
  collective(group& g, const call& what)
      : tag(g.sequence_++), mine(with_file(g, what)), owner_(*g.owner_), note_{name_of(what.head.op), tag, g.id_, true, g.members_} {
    owner_.clear_away();
    ++owner_.running_;
    owner_.last_ = what.head.op;
  }
  collective(const collective&) = delete;
  collective& operator=(const collective&) = delete;
  ~collective() { --owner_.running_; }
  /// It begins now; `done` adds how long it took.
  void explain_at_end(std::string sentence) {
    began_ = owner_.rank().now();
    explanation_ = std::move(sentence);
  }
  void done() {
    if (explanation_.empty()) return;
    owner_.rank().explain(explanation_ + ", took " + time_text(owner_.rank().now() - began_));
  }

  /// What follows has a tag of its own, so that it is not taken for what went before. The tag before.
  std::int64_t next_phase() noexcept {
    constexpr std::int64_t apart = std::int64_t{1} << 60;
    return std::exchange(tag, tag >= 0 ? -1 - tag : tag - apart);
  }

  [[nodiscard]] peal::call_site site() const noexcept { return {mine.where, &note_}; }

  std::int64_t tag;
  const call mine;

 private:
  static call with_file(group& g, call c) {
    c.head.set_file(g.file_number(c.where));
    return c;
  }
  context& owner_;
  peal::call_note note_;
  double began_ = 0;
  std::string explanation_;
};

/// A message of the same collective, awaited where it was asked for.
class group::taking : public peal::detail::receiving {
 public:
  using result_type = peal::message;
  taking(group& g, const collective& in, int job_source)
      : receiving(g.owner_->port(), job_source, in.tag, g.id_ * 2 + 1, in.site()), group_(&g), in_(&in) {}
  [[nodiscard]] peal::message end() {
    peal::message m = taken();
    static_cast<void>(group_->opened_alike(*in_, m));
    return m;
  }

 private:
  group* group_;
  const collective* in_;
};

}  // namespace p2pdvm::mpi::detail
