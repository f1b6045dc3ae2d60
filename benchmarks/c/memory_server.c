/* An NFSv3 server (RFC 1813) whose tree stands nowhere: DIRECTORIES directories of FILES files of SIZE zero bytes each.
 *
 *   memory_server DIRECTORIES FILES SIZE [THREADS MILLISECONDS [BITS_PER_SECOND]]
 *
 * MOUNT and NFS are answered on one port of 127.0.0.1, which is printed. One thread; every reply is made in a buffer, and
 * all replies that are ready are sent together. It shows what a client costs where the server costs little; it checks no
 * more of a call than it needs and is no server for anything else.
 *
 * With THREADS it is the model of a cache: every call needs one of so many threads, and a READ keeps its thread until the
 * origin has answered, which is MILLISECONDS away behind a link of so many bits a second (0: any number). What lies in
 * the first directory is warm. For every line on standard input the number of READs that were answered, and of their
 * bytes, is printed; it ends with its standard input. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { IN_BYTES = 1 << 20, OUT_BYTES = 8 << 20, OUT_FULL = 4 << 20, MOST = 1 << 20, CONNECTIONS = 1024 };
enum { MOUNT = 100005, NFS = 100003, REGULAR = 1, DIRECTORY = 2, MAGIC = 0x77617262 };
enum { OK = 0, NOENT = 2, STALE = 70 };

/* A call of the model: it waits for a thread, then for the origin, then for room in its connection's buffer. */
struct call {
  struct call *next;
  int fd;
  uint64_t generation;
  double due;
  uint32_t length;
  unsigned char bytes[512];
};

struct queue {
  struct call *first, *last;
};

struct connection {
  int fd;
  uint64_t generation;
  struct queue done;
  size_t in_used, out_from, out_to;
  unsigned char *in, *out;
};

/* A handle: MAGIC, directory + 1 (0 is the root), file + 1 (0 is the directory itself), nothing. */
struct node {
  uint32_t directory, file;
};

static uint32_t directories, files;
static uint64_t size;
static struct connection *connections[CONNECTIONS];
static uint64_t generations, reads, read_bytes;
static long threads, threads_free;
static double origin_seconds, link_rate, link_until;
static struct queue waiting, at_origin;

static uint32_t get(const unsigned char *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return ntohl(value);
}

static unsigned char *put(unsigned char *at, uint32_t value) {
  value = htonl(value);
  memcpy(at, &value, 4);
  return at + 4;
}

static unsigned char *put64(unsigned char *at, uint64_t value) { return put(put(at, value >> 32), (uint32_t)value); }

static unsigned char *put_handle(unsigned char *at, struct node node) {
  return put(put(put(put(put(at, 16), MAGIC), node.directory), node.file), 0);
}

/* fattr3, RFC 1813 section 2.6. */
static unsigned char *put_attributes(unsigned char *at, struct node node) {
  int regular = node.file != 0;
  at = put(at, regular ? REGULAR : DIRECTORY);
  at = put(at, regular ? 0644 : 0755);
  at = put(at, regular ? 1 : 2);
  at = put(put(at, 0), 0);
  at = put64(at, regular ? size : 4096);
  at = put64(at, regular ? size : 4096);
  at = put64(at, 0);
  at = put64(at, 1);
  at = put64(at, ((uint64_t)node.directory << 32) + node.file + 1);
  for (int time = 0; time < 3; time++) at = put64(at, (uint64_t)1700000000 << 32);
  return at;
}

static unsigned char *put_post_op(unsigned char *at, struct node node) { return put_attributes(put(at, 1), node); }

static int get_handle(const unsigned char **at, const unsigned char *end, struct node *node) {
  if (end - *at < 20 || get(*at) != 16 || get(*at + 4) != MAGIC) return 0;
  node->directory = get(*at + 8);
  node->file = get(*at + 12);
  *at += 20;
  return node->directory <= directories && node->file <= files;
}

static unsigned char *put_name(unsigned char *at, struct node node) {
  char name[16];
  size_t length = (size_t)snprintf(name, sizeof name, node.file ? "f%07u" : "d%07u", node.file ? node.file : node.directory);
  at = put(at, (uint32_t)length);
  memset(at, 0, (length + 3) & ~(size_t)3);
  memcpy(at, name, length);
  return at + ((length + 3) & ~(size_t)3);
}

/* READDIR (plus = 0) and READDIRPLUS: a cookie is the number of the entry. */
static unsigned char *list(unsigned char *at, struct node node, const unsigned char *rest, const unsigned char *end, int plus) {
  if (end - rest < 20) return put(put(at, STALE), 0);
  uint64_t cookie = ((uint64_t)get(rest) << 32) | get(rest + 4);
  uint32_t wanted = get(plus && end - rest >= 24 ? rest + 20 : rest + 16), count = node.directory ? files : directories;
  if (wanted > 64 << 10) wanted = 64 << 10;
  unsigned char *stop = at + wanted - 64;
  at = put(at, OK);
  at = put_post_op(at, node);
  at = put64(at, 0);
  uint32_t number = cookie < count ? (uint32_t)cookie : count;
  while (number < count && at + 168 < stop) {
    number++;
    struct node entry = {node.directory ? node.directory : number, node.directory ? number : 0};
    at = put(at, 1);
    at = put64(at, ((uint64_t)entry.directory << 32) + entry.file + 1);
    at = put_name(at, entry);
    at = put64(at, number);
    if (plus) at = put_handle(put(put_post_op(at, entry), 1), entry);
  }
  at = put(at, 0);
  return put(at, number == count);
}

static unsigned char *look_up(unsigned char *at, struct node node, const unsigned char *rest, const unsigned char *end) {
  char name[16] = "";
  if (end - rest >= 4 && get(rest) < sizeof name && end - rest >= 4 + (long)get(rest)) memcpy(name, rest + 4, get(rest));
  uint32_t number = (uint32_t)strtoul(name[0] ? name + 1 : "", NULL, 10);
  struct node found = {node.directory ? node.directory : number, node.directory ? number : 0};
  if (name[0] != (node.directory ? 'f' : 'd') || !number || number > (node.directory ? files : directories))
    return put_post_op(put(at, NOENT), node);
  at = put_handle(put(at, OK), found);
  return put_post_op(put_post_op(at, found), node);
}

static unsigned char *read_file(unsigned char *at, struct node node, const unsigned char *rest, const unsigned char *end) {
  if (!node.file || end - rest < 12) return put(put(at, STALE), 0);
  uint64_t offset = ((uint64_t)get(rest) << 32) | get(rest + 4);
  uint64_t left = offset < size ? size - offset : 0;
  uint32_t count = get(rest + 8);
  if (count > MOST) count = MOST;
  if (count > left) count = (uint32_t)left;
  at = put_post_op(put(at, OK), node);
  at = put(put(put(at, count), count == left), count);
  reads++;
  read_bytes += count;
  return at + ((count + 3) & ~3U); /* what stands in the buffer are zeros or old replies: nobody looks */
}

static unsigned char *nfs(unsigned char *at, uint32_t procedure, const unsigned char *rest, const unsigned char *end) {
  struct node node;
  if (procedure == 0) return at;
  if (!get_handle(&rest, end, &node)) return put(put(at, STALE), 0);
  switch (procedure) {
  case 1: /* GETATTR */ return put_attributes(put(at, OK), node);
  case 3: /* LOOKUP */ return look_up(at, node, rest, end);
  case 4: /* ACCESS */ return put(put_post_op(put(at, OK), node), end - rest >= 4 ? get(rest) & 0x23 : 0);
  case 6: return read_file(at, node, rest, end);
  case 16:
  case 17: return list(at, node, rest, end, procedure == 17);
  case 18: /* FSSTAT */
    at = put_post_op(put(at, OK), node);
    for (int number = 0; number < 6; number++) at = put64(at, 1 << 30);
    return put(at, 0);
  case 19: /* FSINFO */
    at = put_post_op(put(at, OK), node);
    at = put(put(put(at, MOST), MOST), 4096);
    at = put(put(put(at, MOST), MOST), 4096);
    at = put64(put(at, 64 << 10), UINT64_MAX >> 1);
    return put(put64(at, 1), 0x1b);
  case 20: /* PATHCONF */
    at = put_post_op(put(at, OK), node);
    return put(put(put(put(put(put(at, 32000), 255), 1), 1), 0), 1);
  default: return NULL;
  }
}

static unsigned char *mount(unsigned char *at, uint32_t procedure) {
  struct node root = {0, 0};
  switch (procedure) {
  case 0: return at;
  case 1: /* MNT: AUTH_SYS alone */ return put(put(put_handle(put(at, OK), root), 1), 1);
  case 3: return at;
  case 5: /* EXPORT: one, for all */
    at = put(put(at, 1), 5);
    memcpy(at, "/warm\0\0\0", 8);
    return put(put(at + 8, 0), 0);
  default: return NULL;
  }
}

/* Where a call's arguments begin; NULL: it is not a call. */
static const unsigned char *arguments(const unsigned char *call, const unsigned char *end) {
  if (end - call < 40 || get(call + 4) != 0) return NULL;
  const unsigned char *rest = call + 24;
  for (int part = 0; part < 2; part++) { /* credential, verifier */
    if (end - rest < 8 || get(rest + 4) > 400 || end - rest < 8 + (long)((get(rest + 4) + 3) & ~3U)) return NULL;
    rest += 8 + ((get(rest + 4) + 3) & ~3U);
  }
  return rest;
}

/* One call; what is answered is appended to the connection's buffer. */
static void answer(struct connection *one, const unsigned char *call, size_t length) {
  const unsigned char *end = call + length, *rest = arguments(call, end);
  if (!rest) return;
  uint32_t program = get(call + 12), procedure = get(call + 20);
  unsigned char *begin = one->out + one->out_to, *at = begin + 4;
  memcpy(at, call, 4);
  at = put(put(put(put(put(at + 4, 1), 0), 0), 0), 0);
  unsigned char *done = program == NFS ? nfs(at, procedure, rest, end) : program == MOUNT ? mount(at, procedure) : NULL;
  if (!done) {
    put(at - 4, 3); /* PROC_UNAVAIL */
    done = at;
  }
  put(begin, 0x80000000U | (uint32_t)(done - begin - 4));
  one->out_to = (size_t)(done - one->out);
}

/* 0 when the connection is over. */
static int flush(struct connection *one) {
  while (one->out_from < one->out_to) {
    ssize_t sent = send(one->fd, one->out + one->out_from, one->out_to - one->out_from, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    one->out_from += (size_t)sent;
  }
  one->out_from = one->out_to = 0;
  return 1;
}

/* -- the model -- */

static void append(struct queue *queue, struct call *call) {
  call->next = NULL;
  if (queue->last)
    queue->last->next = call;
  else
    queue->first = call;
  queue->last = call;
}

static struct call *take(struct queue *queue) {
  struct call *call = queue->first;
  if (call && !(queue->first = call->next)) queue->last = NULL;
  return call;
}

/* The bytes that a call fetches from the origin; 0: the cache has the answer. */
static uint64_t fetched(const struct call *call) {
  const unsigned char *end = call->bytes + call->length, *rest = arguments(call->bytes, end);
  struct node node;
  if (!rest || get(call->bytes + 12) != NFS || get(call->bytes + 20) != 6 || !get_handle(&rest, end, &node)) return 0;
  if (node.directory <= 1 || end - rest < 12) return 0;
  return get(rest + 8) ? get(rest + 8) : 1;
}

static void queue_call(struct connection *one, const unsigned char *bytes, size_t length) {
  struct call *call = length <= sizeof call->bytes ? malloc(sizeof *call) : NULL;
  if (!call) return;
  call->fd = one->fd;
  call->generation = one->generation;
  call->length = (uint32_t)length;
  memcpy(call->bytes, bytes, length);
  append(&waiting, call);
}

/* Its thread is free again; its answer stands ready for its connection, if that is still there. */
static void end_call(struct call *call) {
  struct connection *one = connections[call->fd];
  threads_free++;
  if (one && one->generation == call->generation)
    append(&one->done, call);
  else
    free(call);
}

/* Gives threads to the calls that wait for one, in turn, and ends what the origin has answered. */
static void run_model(void) {
  double time = now();
  while (at_origin.first && at_origin.first->due <= time) end_call(take(&at_origin));
  while (threads_free && waiting.first) {
    struct call *call = take(&waiting);
    threads_free--;
    uint64_t bytes = fetched(call);
    if (!bytes) {
      end_call(call);
      continue;
    }
    call->due = time + origin_seconds;
    if (link_rate > 0) {
      if (link_until < call->due) link_until = call->due;
      link_until += 8 * (double)bytes / link_rate;
      call->due = link_until;
    }
    append(&at_origin, call);
  }
}

static int flush(struct connection *one);

/* Sends what is done; 0 when the connection is over. */
static int answer_done(struct connection *one) {
  while (one->done.first) {
    if (one->out_to > OUT_FULL && (!flush(one) || one->out_to > OUT_FULL)) break;
    struct call *call = take(&one->done);
    answer(one, call->bytes, call->length);
    free(call);
  }
  return flush(one);
}

/* -- connections -- */

/* Answers what has come. -1: the connection is over; 1: calls are left, because their replies could not be sent. */
static int calls(struct connection *one) {
  size_t from = 0;
  int left = 0;
  while (one->in_used - from >= 4) {
    size_t length = get(one->in + from) & 0x7fffffff;
    if (length > IN_BYTES - 4) return -1;
    if (one->in_used - from < 4 + length) break;
    if (one->out_to > OUT_FULL) {
      if (!flush(one)) return -1;
      if ((left = one->out_to > OUT_FULL)) break;
    }
    if (threads)
      queue_call(one, one->in + from + 4, length);
    else
      answer(one, one->in + from + 4, length);
    from += 4 + length;
  }
  memmove(one->in, one->in + from, one->in_used - from);
  one->in_used -= from;
  return left;
}

static int serve(struct connection *one) {
  if (!flush(one)) return 0;
  while (one->out_to == 0) {
    ssize_t got = recv(one->fd, one->in + one->in_used, IN_BYTES - one->in_used, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return 0;
    if (got > 0) one->in_used += (size_t)got;
    int left = calls(one);
    if (left < 0 || !flush(one)) return 0;
    if (got < 0 && !left) return 1;
  }
  return 1;
}

static void forget(struct connection *one) {
  connections[one->fd] = NULL;
  while (one->done.first) free(take(&one->done));
  close(one->fd);
  free(one->in);
  free(one->out);
  free(one);
}

static void welcome(int listener, int events) {
  int fd = accept(listener, NULL, NULL), yes = 1;
  if (fd < 0) return;
  struct connection *one = fd < CONNECTIONS ? calloc(1, sizeof *one) : NULL;
  if (one) {
    one->fd = fd;
    one->generation = ++generations;
    one->in = malloc(IN_BYTES);
    one->out = calloc(1, OUT_BYTES);
  }
  if (!one || !one->in || !one->out) {
    close(fd);
    return;
  }
  fcntl(fd, F_SETFL, O_NONBLOCK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  connections[fd] = one;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
  epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
}

/* Says how much was read, for every line that was written here; 0 at the end. */
static int tell(void) {
  char lines[256];
  ssize_t got = read(STDIN_FILENO, lines, sizeof lines);
  if (got <= 0) return 0;
  for (ssize_t number = 0; number < got; number++)
    if (lines[number] == '\n') printf("%llu %llu\n", (unsigned long long)reads, (unsigned long long)read_bytes);
  return fflush(stdout) == 0;
}

/* Until the origin has its next answer. */
static struct timespec *until_due(struct timespec *wait) {
  if (!at_origin.first) return NULL;
  double left = at_origin.first->due - now();
  if (left < 0) left = 0;
  wait->tv_sec = (time_t)left;
  wait->tv_nsec = (long)((left - (double)wait->tv_sec) * 1e9);
  return wait;
}

int main(int argc, char **argv) {
  if (argc != 4 && argc != 6 && argc != 7) {
    fprintf(stderr, "usage: memory_server DIRECTORIES FILES SIZE [THREADS MILLISECONDS [BITS_PER_SECOND]]\n");
    return 2;
  }
  directories = (uint32_t)strtoul(argv[1], NULL, 10);
  files = (uint32_t)strtoul(argv[2], NULL, 10);
  size = strtoull(argv[3], NULL, 10);
  threads = threads_free = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
  origin_seconds = argc > 5 ? strtod(argv[5], NULL) / 1000 : 0;
  link_rate = argc > 6 ? strtod(argv[6], NULL) : 0;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0), events = epoll_create1(0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128) ||
      getsockname(listener, (struct sockaddr *)&address, &length)) {
    perror("memory_server");
    return 1;
  }
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(events, EPOLL_CTL_ADD, listener, &event);
  event.data.fd = STDIN_FILENO;
  if (threads) epoll_ctl(events, EPOLL_CTL_ADD, STDIN_FILENO, &event);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    struct epoll_event ready[64];
    struct timespec wait;
    int count = epoll_pwait2(events, ready, 64, until_due(&wait), NULL);
    for (int number = 0; number < count; number++) {
      int fd = ready[number].data.fd;
      if (fd == listener)
        welcome(listener, events);
      else if (fd == STDIN_FILENO) {
        if (!tell()) return 0;
      } else if (connections[fd] && !serve(connections[fd]))
        forget(connections[fd]);
    }
    if (!threads) continue;
    run_model();
    for (int fd = 0; fd < CONNECTIONS; fd++)
      if (connections[fd] && connections[fd]->done.first && !answer_done(connections[fd])) forget(connections[fd]);
  }
}
