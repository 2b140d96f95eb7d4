/// Messages from one rank to another.
#pragma once

#include <p2pdvm/peal/mpi/request.hpp>

#include <memory>
#include <optional>
#include <source_location>
#include <utility>

namespace p2pdvm::mpi {

/// Where a `task<status>` is wanted it is one; like one it begins when it is awaited.
using receiving = task<detail::value_receiving>;

/// The part of a communicator that sends and receives. Data: see mpi/data.hpp. What a range
/// sends, a range or (one element) a value receives; what cereal sends, cereal receives;
/// anything else is refused in a sentence that names both sides. Messages between two ranks
/// with the same tag arrive in the order of sending. Tags are 0 or more.
class point_to_point {
 public:
  point_to_point() = default;

  [[nodiscard]] int rank() const noexcept { return in_->self(); }
  [[nodiscard]] int size() const noexcept { return in_->size(); }
  /// The rank in the job of a rank of this communicator.
  [[nodiscard]] int job_rank(int member) const { return in_->job_rank(member); }
  [[nodiscard]] std::uint32_t id() const noexcept { return in_->id(); }
  /// As `peal::rank::output`.
  [[nodiscard]] peal::output output(std::string_view name) const { return in_->output(name); }
  /// False: made by default, or a `split` in which this rank takes no part.
  [[nodiscard]] explicit operator bool() const noexcept { return in_ != nullptr; }

  /// Buffered: the data may be changed when the call was awaited, or its result dropped. Awaiting it waits for nothing
  /// that the destination's program does, unless the destination is megabytes behind.
  template <class T>
  peal::lending send(T&& data, int destination, int tag = 0,
              std::source_location where = std::source_location::current()) {
    detail::check_argument<T>();
    using value = std::remove_cvref_t<decltype(detail::natural(data))>;
    if constexpr (detail::bulk<value> || detail::plain<value>) {
      if (!in_->names(destination) || tag < 0) [[unlikely]]
        in_->check_send(detail::call(detail::operation::message, where), destination, tag);
      return in_->send(destination, tag, detail::format::elements, detail::element_bytes<value>,
                       detail::view_of(detail::natural(data)), where);
    } else {
      return in_->send(destination, tag, packed(data, destination, tag, where, check<T>()), where);
    }
  }
  template <class T>
  [[nodiscard]] request isend(T&& data, int destination, int tag = 0,
                              std::source_location where = std::source_location::current()) {
    payload whole = packed(data, destination, tag, where, check<T>());
    const status done{rank(), tag, whole.size() - detail::head_bytes};
    const peal::sending room = in_->send(destination, tag, std::move(whole), where);
    return request(in_, done, room);
  }

  /// Into a span (at least as long as what comes), a vector or string (resized), or any value. Until it returns that memory
  /// is the receive's: parts of what comes may lie there, and not yet be what was sent. So they may afterwards when it was
  /// given up or has failed.
  template <class T>
  receiving recv_into(T&& into, int source = any_source, int tag = any_tag,
                      std::source_location where = std::source_location::current()) {
    const detail::target t = detail::target_of(std::forward<T>(into));
    check_receive(source, tag, where);
    return receiving(*in_, t.object, t.capacity, t.type, source, tag, where);
  }
  /// A vector or string of any length, or any value.
  template <class T>
  task<T> recv(int source = any_source, int tag = any_tag,
               std::source_location where = std::source_location::current()) {
    T value{};
    (void)co_await recv_into(value, source, tag, where);
    co_return value;
  }
  template <class T>
  [[nodiscard]] request irecv(T&& into, int source = any_source, int tag = any_tag,
                              std::source_location where = std::source_location::current()) {
    const detail::target t = detail::target_of(std::forward<T>(into));
    check_receive(source, tag, where);
    const detail::call c = t.describe(detail::call(detail::operation::message, where));
    if (source == no_rank) return request(in_, status{no_rank, any_tag, 0}, {});
    return request(in_, c, t, in_->post_receive(c, source, tag));
  }

  /// Both at once, without a deadlock whatever the others do.
  template <class S, class R>
  receiving sendrecv(S&& data, int destination, R&& into, int source, int tag = 0,
                     std::source_location where = std::source_location::current()) {
    (void)in_->send(destination, tag, packed(data, destination, tag, where, check<S>()), where);
    return recv_into(std::forward<R>(into), source, tag, where);
  }

  /// The message that a receive would get now; it stays where it is.
  [[nodiscard]] std::optional<status> iprobe(
      int source = any_source, int tag = any_tag,
      std::source_location where = std::source_location::current()) {
    check_receive(source, tag, where);
    return in_->iprobe(source, tag);
  }
  /// Waits until there is one.
  task<status> probe(int source = any_source, int tag = any_tag,
                     std::source_location where = std::source_location::current()) {
    check_receive(source, tag, where);
    return in_->probe(source, tag, where);
  }

 protected:
  explicit point_to_point(std::shared_ptr<detail::group> in) : in_(std::move(in)) {}
  std::shared_ptr<detail::group> in_;

 private:
  struct checked {};
  template <class T>
  static constexpr checked check() {
    detail::check_argument<T>();
    return {};
  }
  template <class T>
  [[nodiscard]] payload packed(const T& data, int destination, int tag,
                               const std::source_location& where, checked) const {
    detail::call c(detail::operation::message, where);
    if (!in_->names(destination) || tag < 0) in_->check_send(c, destination, tag);
    c.head.set_file(in_->file_number(where));
    return detail::message_with(c, detail::natural(data));
  }
  void check_receive(int source, int tag, const std::source_location& where) const {
    if (!in_->names(source) || tag < 0) [[unlikely]]
      in_->check_receive(detail::call(detail::operation::message, where), source, tag);
  }
};

}  // namespace p2pdvm::mpi
