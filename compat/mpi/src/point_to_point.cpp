/// Blocking messages, and those that a request stands for.
#include "call.hpp"
#include "message_arguments.hpp"

namespace p2pdvm::c_mpi {

namespace {

/// What MPI_Buffer_attach was given. Messages are kept elsewhere; what a program may rely on is checked.
struct attached_buffer {
  void* at = nullptr;
  MPI_Count bytes = 0;
  bool there = false;
};
attached_buffer& attached() {
  static attached_buffer one;
  return one;
}

void check_attached(MPI_Count bytes) {
  require(attached().there, MPI_ERR_BUFFER, "no buffer was attached");
  require(bytes + MPI_BSEND_OVERHEAD <= attached().bytes, MPI_ERR_BUFFER, "the message does not fit into the attached buffer");
}

int send(const char* name, send_mode mode, const void* buffer, MPI_Count count, MPI_Datatype type, int destination, int tag, MPI_Comm comm) {
  return call_on(comm, name, [&](communicator& c) {
    if (destination == MPI_PROC_NULL) return;
    datatype& of = committed_type(type);
    check_buffer(buffer, count, of);
    require(tag >= 0, MPI_ERR_TAG, "tags are 0 or more");
    if (mode == send_mode::buffered) check_attached(of.bytes_of(count));
    c.check_peer(destination, "destination");
    sending message;
    message.begin(c, buffer, count, of, destination, tag, mode);
    here().wait([&message] { return message.done(); });
  });
}

int receive(const char* name, void* buffer, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status* status) {
  return call_on(comm, name, [&](communicator& c) {
    if (source == MPI_PROC_NULL) return fill_from_nobody(status);
    datatype& of = committed_type(type);
    check_buffer(buffer, count, of);
    check_source(c, source, tag);
    receiving message(c, buffer, count, of, source, tag);
    message.begin();
    here().wait([&message] { return message.completed(); });
    message.finish(status);
  });
}

class receive_request final : public request {
 public:
  receive_request(message_spec spec, bool persistent) : spec_(std::move(spec)), persistent_(persistent) {
    if (!persistent) receive_request::start();
  }
  bool complete() override { return !message_ || message_->completed(); }
  void finish(MPI_Status* status) override {
    if (!active_) return set_empty(status);
    active_ = false;
    report(status);
    message_.reset();
  }
  void peek(MPI_Status* status) override { active_ ? report(status) : set_empty(status); }
  void deliver() override {
    if (message_) message_->deliver();
  }
  void start() override {
    require(!active_, MPI_ERR_REQUEST, "the request is active");
    active_ = true;
    cancelled_ = false;
    if (spec_.peer == MPI_PROC_NULL) return;
    message_.emplace(*spec_.over, spec_.buffer, spec_.count, *spec_.type, spec_.peer, spec_.tag);
    message_->begin();
    here().answer();
  }
  void cancel() override {
    if (!message_ || message_->completed()) return;
    message_.reset();
    cancelled_ = true;
  }
  bool persistent() const noexcept override { return persistent_; }
  bool active() const noexcept override { return active_; }
  communicator* over() noexcept override { return spec_.over.get(); }

 private:
  void report(MPI_Status* status) {
    if (message_) {
      message_->finish(status);
      set_cancelled(status, false);
    } else if (cancelled_) {
      fill(status, MPI_ANY_SOURCE, MPI_ANY_TAG, 0);
      set_cancelled(status, true);
    } else {
      fill_from_nobody(status);
    }
  }
  message_spec spec_;
  bool persistent_, active_ = false, cancelled_ = false;
  std::optional<receiving> message_;
};

class send_request final : public request {
 public:
  send_request(message_spec spec, send_mode mode, bool persistent) : spec_(std::move(spec)), mode_(mode), persistent_(persistent) {
    if (!persistent) send_request::start();
  }
  bool complete() override { return !message_ || message_->done(); }
  void finish(MPI_Status* status) override {
    active_ = false;
    set_empty(status);
    message_.reset();
  }
  void start() override {
    require(!active_, MPI_ERR_REQUEST, "the request is active");
    if (mode_ == send_mode::buffered) check_attached(spec_.type->bytes_of(spec_.count));
    active_ = true;
    if (spec_.peer == MPI_PROC_NULL) return;
    message_.emplace();
    message_->begin(*spec_.over, spec_.buffer, spec_.count, *spec_.type, spec_.peer, spec_.tag, mode_);
  }
  bool persistent() const noexcept override { return persistent_; }
  bool active() const noexcept override { return active_; }
  communicator* over() noexcept override { return spec_.over.get(); }

 private:
  message_spec spec_;
  send_mode mode_;
  bool persistent_, active_ = false;
  std::optional<sending> message_;
};

int begin_send(const char* name, send_mode mode, bool persistent, const void* buffer, MPI_Count count, MPI_Datatype type, int destination, int tag,
               MPI_Comm comm, MPI_Request* made) {
  return call_on(comm, name, [&](communicator& c) {
    *made = handle_of(*new send_request(send_spec(c, buffer, count, type, destination, tag), mode, persistent));
  });
}

int begin_receive(const char* name, bool persistent, void* buffer, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
                  MPI_Request* made) {
  return call_on(comm, name, [&](communicator& c) {
    *made = handle_of(*new receive_request(receive_spec(c, buffer, count, type, source, tag), persistent));
  });
}

}  // namespace

#define P2PDVM_SEND(name, mode)                                                                                               \
  P2PDVM_FUNCTION(name)(const void* buf, int count, MPI_Datatype type, int dest, int tag, MPI_Comm comm) {                    \
    return send("MPI_" #name, send_mode::mode, buf, count, type, dest, tag, comm);                                            \
  }                                                                                                                           \
  P2PDVM_FUNCTION(name##_c)(const void* buf, MPI_Count count, MPI_Datatype type, int dest, int tag, MPI_Comm comm) {          \
    return send("MPI_" #name "_c", send_mode::mode, buf, count, type, dest, tag, comm);                                       \
  }
#define P2PDVM_BEGIN_SEND(name, mode, persistent)                                                                             \
  P2PDVM_FUNCTION(name)(const void* buf, int count, MPI_Datatype type, int dest, int tag, MPI_Comm comm, MPI_Request* made) { \
    return begin_send("MPI_" #name, send_mode::mode, persistent, buf, count, type, dest, tag, comm, made);                    \
  }                                                                                                                           \
  P2PDVM_FUNCTION(name##_c)(const void* buf, MPI_Count count, MPI_Datatype type, int dest, int tag, MPI_Comm comm,            \
                            MPI_Request* made) {                                                                              \
    return begin_send("MPI_" #name "_c", send_mode::mode, persistent, buf, count, type, dest, tag, comm, made);               \
  }
#define P2PDVM_BEGIN_RECEIVE(name, persistent)                                                                                \
  P2PDVM_FUNCTION(name)(void* buf, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Request* made) {     \
    return begin_receive("MPI_" #name, persistent, buf, count, type, source, tag, comm, made);                                \
  }                                                                                                                           \
  P2PDVM_FUNCTION(name##_c)(void* buf, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm,                \
                            MPI_Request* made) {                                                                              \
    return begin_receive("MPI_" #name "_c", persistent, buf, count, type, source, tag, comm, made);                           \
  }

P2PDVM_SEND(Send, standard)
P2PDVM_SEND(Bsend, buffered)
P2PDVM_SEND(Ssend, synchronous)
P2PDVM_SEND(Rsend, ready)
P2PDVM_BEGIN_SEND(Isend, standard, false)
P2PDVM_BEGIN_SEND(Ibsend, buffered, false)
P2PDVM_BEGIN_SEND(Issend, synchronous, false)
P2PDVM_BEGIN_SEND(Irsend, ready, false)
P2PDVM_BEGIN_SEND(Send_init, standard, true)
P2PDVM_BEGIN_SEND(Bsend_init, buffered, true)
P2PDVM_BEGIN_SEND(Ssend_init, synchronous, true)
P2PDVM_BEGIN_SEND(Rsend_init, ready, true)
P2PDVM_BEGIN_RECEIVE(Irecv, false)
P2PDVM_BEGIN_RECEIVE(Recv_init, true)

P2PDVM_FUNCTION(Recv)(void* buf, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status* status) {
  return receive("MPI_Recv", buf, count, type, source, tag, comm, status);
}
P2PDVM_FUNCTION(Recv_c)(void* buf, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status* status) {
  return receive("MPI_Recv_c", buf, count, type, source, tag, comm, status);
}

namespace {

struct one_way {
  const void* buffer;
  MPI_Count count;
  MPI_Datatype type;
  int peer, tag;
};

void exchange(communicator& c, const one_way& out, void* buffer, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Status* status) {
  const message_spec sent = send_spec(c, out.buffer, out.count, out.type, out.peer, out.tag);
  const message_spec wanted = receive_spec(c, buffer, count, type, source, tag);
  std::optional<receiving> in;
  if (source != MPI_PROC_NULL) {
    in.emplace(c, buffer, count, *wanted.type, source, tag);
    in->begin();
  }
  sending message;
  if (out.peer != MPI_PROC_NULL) message.begin(c, out.buffer, out.count, *sent.type, out.peer, out.tag, send_mode::standard);
  here().wait([&] { return message.done() && (!in || in->completed()); });
  if (!in) return fill_from_nobody(status);
  in->finish(status);
}

/// What is sent must be out of the way of what comes.
void exchange_in_place(communicator& c, void* buffer, MPI_Count count, MPI_Datatype type, int destination, int send_tag, int source, int tag,
                       MPI_Status* status) {
  const datatype& of = committed_type(type);
  check_buffer(buffer, count, of);
  byte_vector copy(static_cast<std::size_t>(of.bytes_of(count)));
  of.pack(buffer, count, copy.data());
  const one_way out{copy.data(), static_cast<MPI_Count>(copy.size()), MPI_BYTE, destination, send_tag};
  exchange(c, out, buffer, count, type, source, tag, status);
}

/// Both ways of MPI_Isendrecv.
class exchange_request final : public request {
 public:
  exchange_request(ref<request> out, ref<request> in, byte_vector copy) : out_(std::move(out)), in_(std::move(in)), copy_(std::move(copy)) {}
  bool complete() override { return out_->complete() && in_->complete(); }
  void finish(MPI_Status* status) override {
    out_->finish(MPI_STATUS_IGNORE);
    in_->finish(status);
  }
  void peek(MPI_Status* status) override { in_->peek(status); }
  void deliver() override { in_->deliver(); }
  communicator* over() noexcept override { return in_->over(); }

 private:
  ref<request> out_, in_;
  byte_vector copy_;
};

ref<request> begin_exchange(communicator& c, const one_way& out, void* buffer, MPI_Count count, MPI_Datatype type, int source, int tag,
                            byte_vector copy) {
  message_spec sent = send_spec(c, out.buffer, out.count, out.type, out.peer, out.tag);
  message_spec wanted = receive_spec(c, buffer, count, type, source, tag);
  auto in = ref<request>::adopt(new receive_request(std::move(wanted), false));
  auto away = ref<request>::adopt(new send_request(std::move(sent), send_mode::standard, false));
  return ref<request>::adopt(new exchange_request(std::move(away), std::move(in), std::move(copy)));
}

}  // namespace

#define P2PDVM_EXCHANGE(suffix, count_type)                                                                                                   \
  P2PDVM_FUNCTION(Sendrecv##suffix)(const void* sendbuf, count_type sendcount, MPI_Datatype sendtype, int dest, int sendtag, void* recvbuf,   \
                                    count_type recvcount, MPI_Datatype recvtype, int source, int recvtag, MPI_Comm comm, MPI_Status* status) { \
    return call_on(comm, "MPI_Sendrecv" #suffix, [&](communicator& c) {                                                                       \
      exchange(c, {sendbuf, sendcount, sendtype, dest, sendtag}, recvbuf, recvcount, recvtype, source, recvtag, status);                      \
    });                                                                                                                                       \
  }                                                                                                                                           \
  P2PDVM_FUNCTION(Sendrecv_replace##suffix)(void* buf, count_type count, MPI_Datatype type, int dest, int sendtag, int source, int recvtag,   \
                                            MPI_Comm comm, MPI_Status* status) {                                                              \
    return call_on(comm, "MPI_Sendrecv_replace" #suffix,                                                                                      \
                   [&](communicator& c) { exchange_in_place(c, buf, count, type, dest, sendtag, source, recvtag, status); });                 \
  }                                                                                                                                           \
  P2PDVM_FUNCTION(Isendrecv##suffix)(const void* sendbuf, count_type sendcount, MPI_Datatype sendtype, int dest, int sendtag, void* recvbuf,  \
                                     count_type recvcount, MPI_Datatype recvtype, int source, int recvtag, MPI_Comm comm, MPI_Request* made) { \
    return call_on(comm, "MPI_Isendrecv" #suffix, [&](communicator& c) {                                                                      \
      const one_way out{sendbuf, sendcount, sendtype, dest, sendtag};                                                                         \
      *made = handle_of(*begin_exchange(c, out, recvbuf, recvcount, recvtype, source, recvtag, {}).detach());                                 \
    });                                                                                                                                       \
  }                                                                                                                                           \
  P2PDVM_FUNCTION(Isendrecv_replace##suffix)(void* buf, count_type count, MPI_Datatype type, int dest, int sendtag, int source, int recvtag,  \
                                             MPI_Comm comm, MPI_Request* made) {                                                              \
    return call_on(comm, "MPI_Isendrecv_replace" #suffix, [&](communicator& c) {                                                              \
      const datatype& of = committed_type(type);                                                                                              \
      check_buffer(buf, count, of);                                                                                                           \
      byte_vector copy(static_cast<std::size_t>(of.bytes_of(count)));                                                                         \
      of.pack(buf, count, copy.data());                                                                                                       \
      const one_way out{copy.data(), static_cast<MPI_Count>(copy.size()), MPI_BYTE, dest, sendtag};                                           \
      *made = handle_of(*begin_exchange(c, out, buf, count, type, source, recvtag, std::move(copy)).detach());                                \
    });                                                                                                                                       \
  }
P2PDVM_EXCHANGE(, int)
P2PDVM_EXCHANGE(_c, MPI_Count)

// --- probes ---

namespace {

messaging::pattern pattern_of(communicator& c, int source, int tag) {
  messaging::pattern p;
  p.space = c.space();
  if (source != MPI_ANY_SOURCE) p.source = rank_number(static_cast<std::uint32_t>(c.job_rank(source)));
  if (tag != MPI_ANY_TAG) p.tag = tag;
  return p;
}

void fill_from(communicator& c, const messaging::rank_message& m, MPI_Status* status) {
  fill(status, c.peer_of(static_cast<int>(m.source.value())), static_cast<int>(m.tag),
       static_cast<MPI_Count>(m.body.size() - sizeof(message_head)));
}

/// Whether there is one now.
bool find(communicator& c, const messaging::pattern& wanted, MPI_Status* status) {
  const std::lock_guard held(here().token());
  const messaging::rank_message* const found = here().endpoint().peek(wanted);
  if (found == nullptr) return false;
  fill_from(c, *found, status);
  return true;
}

bool find_or_look(communicator& c, const messaging::pattern& wanted, MPI_Status* status) {
  if (find(c, wanted, status)) {
    here().found();
    return true;
  }
  here().look();
  if (find(c, wanted, status)) return true;
  here().found_nothing();
  return false;
}

void wait_until_there(communicator& c, const messaging::pattern& wanted, MPI_Status* status) {
  while (!find(c, wanted, status)) {
    peal::detail::receive_wait probe(here().rank(), wanted, peal::call_site(std::source_location()), true);
    (void)probe.run();
    here().wait([&probe] { return probe.completed(); });
    probe.resumed();
  }
}

/// A message that was matched by a probe, and waits for its receive.
class matched final : public object {
 public:
  matched(communicator& over, const MPI_Status& found) : over_(over) {
    messaging::pattern exact = pattern_of(over, found.MPI_SOURCE, found.MPI_TAG);
    taken_.emplace(here().rank(), exact, peal::call_site(std::source_location()));
    const bool there = taken_->run();
    P2PDVM_ASSERT(there);
  }
  [[nodiscard]] communicator& over() const noexcept { return *over_; }
  void receive(void* buffer, MPI_Count count, const datatype& type, MPI_Status* status) {
    const messaging::rank_message& m = taken_->message;
    message_head head;
    std::memcpy(&head, m.body.data(), sizeof head);
    if (head.synchronous != 0) {
      const std::lock_guard held(here().token());
      here().owe(static_cast<int>(m.source.value()), head.serial);
    }
    here().answer();
    const byte_view data = m.body.view().subspan(sizeof head);
    const auto room = static_cast<std::size_t>(type.bytes_of(count));
    type.unpack(data.first(std::min(data.size(), room)), buffer, count);
    fill(status, over_->peer_of(static_cast<int>(m.source.value())), static_cast<int>(m.tag), static_cast<MPI_Count>(std::min(data.size(), room)));
    require(data.size() <= room, MPI_ERR_TRUNCATE, "the message is longer than the receive");
  }

 private:
  ref<communicator> over_;
  std::optional<peal::detail::receive_wait> taken_;
};

/// A receive that was complete when it began.
class received_request final : public request {
 public:
  received_request(communicator& over, const MPI_Status& status, int error) : over_(over), status_(status), error_(error) {}
  bool complete() override { return true; }
  void finish(MPI_Status* status) override {
    peek(status);
    if (error_ != MPI_SUCCESS) fail(error_, "the message is longer than the receive");
  }
  void peek(MPI_Status* status) override {
    fill(status, status_.MPI_SOURCE, status_.MPI_TAG, bytes_in(status_));
  }
  communicator* over() noexcept override { return over_.get(); }

 private:
  ref<communicator> over_;
  MPI_Status status_;
  int error_;
};

matched& matched_of(MPI_Message message) {
  require(message != MPI_MESSAGE_NULL && !is_predefined(message), MPI_ERR_REQUEST, "it is no message");
  return *reinterpret_cast<matched*>(message);
}

void receive_matched(MPI_Message* message, void* buffer, MPI_Count count, MPI_Datatype type, MPI_Status* status) {
  if (*message == MPI_MESSAGE_NO_PROC) {
    fill_from_nobody(status);
    *message = MPI_MESSAGE_NULL;
    return;
  }
  const datatype& of = committed_type(type);
  check_buffer(buffer, count, of);
  const auto taken = ref<matched>::adopt(&matched_of(*message));
  *message = MPI_MESSAGE_NULL;
  taken->receive(buffer, count, of, status);
}

/// On whose communicator an error of it is raised.
MPI_Comm comm_of(MPI_Message message) {
  if (message == MPI_MESSAGE_NULL || is_predefined(message)) return MPI_COMM_WORLD;
  return handle_of(matched_of(message).over());
}

}  // namespace

P2PDVM_FUNCTION(Probe)(int source, int tag, MPI_Comm comm, MPI_Status* status) {
  return call_on(comm, "MPI_Probe", [&](communicator& c) {
    check_source(c, source, tag);
    if (source == MPI_PROC_NULL) return fill_from_nobody(status);
    wait_until_there(c, pattern_of(c, source, tag), status);
  });
}

P2PDVM_FUNCTION(Iprobe)(int source, int tag, MPI_Comm comm, int* flag, MPI_Status* status) {
  return call_on(comm, "MPI_Iprobe", [&](communicator& c) {
    check_source(c, source, tag);
    *flag = 1;
    if (source == MPI_PROC_NULL) return fill_from_nobody(status);
    *flag = find_or_look(c, pattern_of(c, source, tag), status) ? 1 : 0;
  });
}

P2PDVM_FUNCTION(Mprobe)(int source, int tag, MPI_Comm comm, MPI_Message* message, MPI_Status* status) {
  return call_on(comm, "MPI_Mprobe", [&](communicator& c) {
    check_source(c, source, tag);
    *message = MPI_MESSAGE_NO_PROC;
    if (source == MPI_PROC_NULL) return fill_from_nobody(status);
    MPI_Status found{};
    wait_until_there(c, pattern_of(c, source, tag), &found);
    *message = reinterpret_cast<MPI_Message>(new matched(c, found));
    fill(status, found.MPI_SOURCE, found.MPI_TAG, bytes_in(found));
  });
}

P2PDVM_FUNCTION(Improbe)(int source, int tag, MPI_Comm comm, int* flag, MPI_Message* message, MPI_Status* status) {
  return call_on(comm, "MPI_Improbe", [&](communicator& c) {
    check_source(c, source, tag);
    *flag = 1;
    *message = MPI_MESSAGE_NO_PROC;
    if (source == MPI_PROC_NULL) return fill_from_nobody(status);
    MPI_Status found{};
    *flag = find_or_look(c, pattern_of(c, source, tag), &found) ? 1 : 0;
    *message = MPI_MESSAGE_NULL;
    if (*flag == 0) return;
    *message = reinterpret_cast<MPI_Message>(new matched(c, found));
    fill(status, found.MPI_SOURCE, found.MPI_TAG, bytes_in(found));
  });
}

#define P2PDVM_MATCHED(suffix, count_type)                                                                                         \
  P2PDVM_FUNCTION(Mrecv##suffix)(void* buf, count_type count, MPI_Datatype type, MPI_Message* message, MPI_Status* status) {       \
    return call_on(comm_of(*message), "MPI_Mrecv" #suffix,                                                                         \
                   [&](communicator&) { receive_matched(message, buf, count, type, status); });                                    \
  }                                                                                                                                \
  P2PDVM_FUNCTION(Imrecv##suffix)(void* buf, count_type count, MPI_Datatype type, MPI_Message* message, MPI_Request* made) {       \
    return call_on(comm_of(*message), "MPI_Imrecv" #suffix, [&](communicator& c) {                                                 \
      MPI_Status status{};                                                                                                         \
      int error = MPI_SUCCESS;                                                                                                     \
      try {                                                                                                                        \
        receive_matched(message, buf, count, type, &status);                                                                       \
      } catch (const failure& f) {                                                                                                 \
        if (f.code != MPI_ERR_TRUNCATE) throw;                                                                                     \
        error = f.code;                                                                                                            \
      }                                                                                                                            \
      *made = handle_of(*new received_request(c, status, error));                                                                  \
    });                                                                                                                            \
  }
P2PDVM_MATCHED(, int)
P2PDVM_MATCHED(_c, MPI_Count)

// --- the buffer of buffered sends ---

namespace {

void attach(void* buffer, MPI_Count bytes) {
  require(bytes >= 0, MPI_ERR_ARG, "the size is negative");
  require(!attached().there, MPI_ERR_BUFFER, "a buffer is attached");
  attached() = {buffer, bytes, true};
}
attached_buffer detach() {
  require(attached().there, MPI_ERR_BUFFER, "no buffer is attached");
  return std::exchange(attached(), {});
}

}  // namespace

P2PDVM_FUNCTION(Buffer_attach)(void* buffer, int size) {
  return call("MPI_Buffer_attach", [&] { attach(buffer, size); });
}
P2PDVM_FUNCTION(Buffer_attach_c)(void* buffer, MPI_Count size) {
  return call("MPI_Buffer_attach_c", [&] { attach(buffer, size); });
}
P2PDVM_FUNCTION(Buffer_detach)(void* buffer_addr, int* size) {
  return call("MPI_Buffer_detach", [&] {
    const attached_buffer was = detach();
    *static_cast<void**>(buffer_addr) = was.at;
    *size = static_cast<int>(was.bytes);
  });
}
P2PDVM_FUNCTION(Buffer_detach_c)(void* buffer_addr, MPI_Count* size) {
  return call("MPI_Buffer_detach_c", [&] {
    const attached_buffer was = detach();
    *static_cast<void**>(buffer_addr) = was.at;
    *size = was.bytes;
  });
}
P2PDVM_FUNCTION(Buffer_flush)(void) {
  return call("MPI_Buffer_flush", [] {});
}

}  // namespace p2pdvm::c_mpi
