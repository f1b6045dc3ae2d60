/* Lists a tree and reads every byte of its files by libnfs' asynchronous calls, READDIRPLUS and READ, a fixed number in flight.
 *
 *   libnfs_read ADDRESS NFS_PORT MOUNT_PORT EXPORT WINDOW
 *
 * Connecting is not counted, listing is. Prints a line of JSON. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "clock.h"

enum { HANDLE = 64, PAGE = 64 << 10, LISTING = 4, PIECE = 1 << 20 };

struct handle {
  uint32_t length;
  char data[HANDLE];
};

/* A directory to go on listing, or a file to go on reading: queues of their own. */
struct task {
  struct handle handle;
  uint64_t at, size;
  cookieverf3 verifier;
  struct task *next;
};

struct queue {
  struct task *first, *last;
};

static struct rpc_context *rpc;
static struct queue to_list, to_read;
static size_t window, waiting, listing;
static uint64_t bytes, files;

static void fail(const char *why) {
  fprintf(stderr, "libnfs_read: %s\n", why);
  exit(1);
}

static void append(struct queue *queue, struct task *task) {
  task->next = NULL;
  if (queue->last)
    queue->last->next = task;
  else
    queue->first = task;
  queue->last = task;
}

static struct task *first_of(struct queue *queue) {
  struct task *task = queue->first;
  if (task && !(queue->first = task->next)) queue->last = NULL;
  return task;
}

static void add(struct queue *queue, const char *data, uint32_t length, uint64_t size) {
  struct task *task = calloc(1, sizeof *task);
  if (!task || length > HANDLE) fail("no memory, or a long handle");
  task->handle.length = length;
  memcpy(task->handle.data, data, length);
  task->size = size;
  append(queue, task);
}

static void ask(void);

static void listed(struct rpc_context *context, int status, void *data, void *given) {
  struct task *task = given;
  READDIRPLUS3res *res = data;
  (void)context;
  if (status != RPC_STATUS_SUCCESS || res->status != NFS3_OK) fail("a listing failed");
  READDIRPLUS3resok *page = &res->READDIRPLUS3res_u.resok;
  for (entryplus3 *entry = page->reply.entries; entry; entry = entry->nextentry) {
    task->at = entry->cookie;
    if (!strcmp(entry->name, ".") || !strcmp(entry->name, "..")) continue;
    if (!entry->name_attributes.attributes_follow || !entry->name_handle.handle_follows) fail("an entry has no handle");
    fattr3 *attributes = &entry->name_attributes.post_op_attr_u.attributes;
    nfs_fh3 *handle = &entry->name_handle.post_op_fh3_u.handle;
    if (attributes->type == NF3DIR)
      add(&to_list, handle->data.data_val, handle->data.data_len, 0);
    else if (attributes->type == NF3REG)
      add(&to_read, handle->data.data_val, handle->data.data_len, attributes->size);
  }
  memcpy(task->verifier, page->cookieverf, sizeof task->verifier);
  if (page->reply.eof)
    free(task);
  else
    append(&to_list, task);
  waiting--;
  listing--;
  ask();
}

/* The size of the file travels with its last piece alone, so that a file is counted once. */
static void read_done(struct rpc_context *context, int status, void *data, void *given) {
  READ3res *res = data;
  (void)context;
  if (status != RPC_STATUS_SUCCESS || res->status != NFS3_OK) fail("a READ failed");
  bytes += res->READ3res_u.resok.count;
  if (given) {
    files++;
    free(given);
  }
  waiting--;
  ask();
}

static void ask_list(struct task *task) {
  READDIRPLUS3args args = {.cookie = task->at, .dircount = PAGE, .maxcount = PAGE};
  args.dir.data.data_len = task->handle.length;
  args.dir.data.data_val = task->handle.data;
  memcpy(args.cookieverf, task->verifier, sizeof args.cookieverf);
  if (rpc_nfs3_readdirplus_async(rpc, listed, &args, task)) fail("a call could not be made");
  waiting++;
  listing++;
}

static void ask_read(struct task *task) {
  READ3args args = {.offset = task->at, .count = (count3)(task->size - task->at < PIECE ? task->size - task->at : PIECE)};
  args.file.data.data_len = task->handle.length;
  args.file.data.data_val = task->handle.data;
  task->at += args.count;
  int last = task->at >= task->size;
  if (rpc_nfs3_read_async(rpc, read_done, &args, last ? task : NULL)) fail("a call could not be made");
  waiting++;
  if (last) first_of(&to_read);
}

static void ask(void) {
  while (waiting < window) {
    if (to_list.first && listing < LISTING) {
      ask_list(first_of(&to_list));
    } else if (to_read.first) {
      if (to_read.first->size)
        ask_read(to_read.first);
      else {
        files++;
        free(first_of(&to_read));
      }
    } else
      return;
  }
}

/* Serves the connection until nothing is waited for. */
static void serve(void) {
  while (waiting) {
    struct pollfd ready = {.fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc)};
    if (poll(&ready, 1, 10000) <= 0) fail("no answer for 10 s");
    if (rpc_service(rpc, ready.revents) < 0) fail(rpc_get_error(rpc));
  }
}

static void connected(struct rpc_context *context, int status, void *data, void *given) {
  (void)context, (void)data, (void)given;
  if (status != RPC_STATUS_SUCCESS) fail("can't connect");
  waiting--;
}

static void mounted(struct rpc_context *context, int status, void *data, void *given) {
  mountres3 *res = data;
  (void)context, (void)given;
  if (status != RPC_STATUS_SUCCESS || res->fhs_status != MNT3_OK) fail("can't mount");
  add(&to_list, res->mountres3_u.mountinfo.fhandle.fhandle3_val, res->mountres3_u.mountinfo.fhandle.fhandle3_len, 0);
  waiting--;
}

static void reach(const char *address, const char *port, int program) {
  if (!(rpc = rpc_init_context())) fail("no memory");
  if (rpc_connect_port_async(rpc, address, atoi(port), program, 3, connected, NULL)) fail(rpc_get_error(rpc));
  waiting++;
  serve();
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: libnfs_read ADDRESS NFS_PORT MOUNT_PORT EXPORT WINDOW\n");
    return 2;
  }
  reach(argv[1], argv[3], MOUNT_PROGRAM);
  if (rpc_mount3_mnt_async(rpc, mounted, argv[4], NULL)) fail(rpc_get_error(rpc));
  waiting++;
  serve();
  rpc_destroy_context(rpc);
  reach(argv[1], argv[2], NFS_PROGRAM);
  window = strtoul(argv[5], NULL, 10);
  double began = now(), used = cpu();
  ask();
  serve();
  printf("{\"files\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", (unsigned long long)files,
         (unsigned long long)bytes, now() - began, cpu() - used);
  rpc_destroy_context(rpc);
  return 0;
}
