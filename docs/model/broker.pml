/* The protocol between managers, workers and a broker: publish, lease, renew, complete, crash, redeliver, poison, take over,
 * scan again. README.md says how to run it, what is checked, and what is left out.
 *
 * -DAZURE: a queue and a table, in which a lease, a receipt and a delete are steps of their own, and each scan of a job is
 * counted by itself. Without it: one database (SQLite, PostgreSQL), in which each of these is one transaction.
 *
 * -DMUTANT_x takes one precaution away; spin must then find how that goes wrong.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef MANAGERS
#define MANAGERS 1
#endif
#ifndef TROUBLES
#define TROUBLES 1   /* how much goes wrong in one run: each kill, expired lease, lost answer, hand-back and theft is one */
#endif
#ifndef DELIVERIES
#define DELIVERIES 2 /* after so many that failed, an item goes to poison */
#endif

#define N 2          /* items of the tree; a scan finds both, or the first only: a tree changes */
#ifdef AZURE
#define MESSAGES 3   /* the last one is item 0 once more: an answer was lost, so it was posted twice */
#else
#define MESSAGES 2
#endif
#define ITEM(m) ((m) % N)

#define NOBODY 0
#define ME (_pid + 1)
#define THE_DEAD 15  /* has what a killed process had, until its lease has run out */

/* What the broker keeps of the items. Those of a scan that was left behind are not told apart: they are only in the way. */
bool there[MESSAGES];      /* the message is there, in sight or not */
bool leased[MESSAGES];     /* it is out of sight */
byte token[MESSAGES];      /* of the last lease: it is good until the next one begins, as is a pop receipt */
byte deliveries[MESSAGES]; /* that failed */
byte stale;                /* messages of scans that were left behind */
bool settled[N];           /* there is a receipt, or it is in poison */
byte tally;                /* the sum of all tallies, poison included */

/* What it keeps of the job. */
mtype = { queued, scanning, warming, completed, failed };
mtype state = queued;
byte counted;              /* the number of the scan that counts */
bool finished;             /* that scan's totals are recorded */
byte total;                /* and this is what it found */
bool begun_again;          /* because the job was stranded */
bool job_leased;
byte job_token;

byte troubles, thefts;

#define over (state == completed || state == failed)
#define trouble (troubles < TROUBLES)
#define queue_is_empty (!there[0] && !there[1] && !there[MESSAGES - 1] && stale == 0)
#define is_stranded (finished && tally < total && queue_is_empty)
#define held (number == counted && there[m] && token[m] == ME)

/* A scan begins, and counts. Workers still hold what the scan before published. */
inline leave_scan_behind() {
  stale = stale + there[0] + there[1];
#ifdef AZURE
  stale = stale + there[2];
  there[2] = false; leased[2] = false; token[2] = NOBODY; deliveries[2] = 0;
#endif
  there[0] = false; leased[0] = false; token[0] = NOBODY; deliveries[0] = 0;
  there[1] = false; leased[1] = false; token[1] = NOBODY; deliveries[1] = 0;
  counted++; finished = false; total = 0;
  settled[0] = false; settled[1] = false; tally = 0
#ifndef AZURE
  ; stale = 0              /* the rows are gone */
#endif
}

inline take_off_the_queue() { there[m] = false; leased[m] = false; token[m] = NOBODY; deliveries[m] = 0 }

/* The row of the receipt (or of the poison) and the tally: both, or neither. */
inline count_it() {
  if
  :: number == counted && !settled[ITEM(m)] -> settled[ITEM(m)] = true; tally++
#ifdef MUTANT_COUNTED_TWICE
  :: number == counted && settled[ITEM(m)] -> tally++
#endif
  :: else                  /* counted before; or under a scan that does not count any more */
  fi;
  assert(tally == settled[0] + settled[1]) /* nothing counts twice */
}

active [WORKERS] proctype Worker() {
  byte m, number;
again:
  atomic {
    m = 0; number = 0;
    if
    :: over -> goto done
    :: stale > 0 -> stale--; goto again /* read for nothing, or dropped unread */
    :: there[0] && !leased[0] -> m = 0
    :: there[1] && !leased[1] -> m = 1
#ifdef AZURE
    :: there[2] && !leased[2] -> m = 2
#endif
    fi;
    number = counted; leased[m] = true; token[m] = ME;
    if
    :: deliveries[m] >= DELIVERIES -> goto give_up
    :: else -> deliveries[m]++
    fi
  }
reading:
  if
  :: atomic { trouble -> troubles++; goto killed }
  :: atomic { held && !leased[m] -> leased[m] = true; goto reading }  /* the renewal came late, and yet in time */
  :: atomic { !held -> goto again }                                   /* the renewal says that the lease is lost */
  :: atomic { trouble && held -> troubles++;                          /* handed back without fault */
       leased[m] = false; token[m] = NOBODY; deliveries[m]--; goto again }
  :: atomic { held && deliveries[m] < DELIVERIES -> leased[m] = false; token[m] = NOBODY; goto again } /* it failed */
#ifdef MUTANT_NO_POISON
  :: atomic { held && deliveries[m] >= DELIVERIES -> leased[m] = false; token[m] = NOBODY; deliveries[m]--; goto again }
#else
  :: atomic { held && deliveries[m] >= DELIVERIES -> goto give_up }   /* once too often */
#endif
  :: goto complete                                                    /* it is read, whether the lease is lost or not */
  fi;
give_up: /* into poison: as a receipt, only that the files count as failed */
complete:
#ifdef AZURE
#ifdef MUTANT_DELETED_FIRST
  atomic { if :: held -> take_off_the_queue() :: else fi };
  if :: atomic { trouble -> troubles++; goto killed } :: true fi;
  atomic { count_it(); goto again };
#endif
#ifdef MUTANT_TALLY_APART
  atomic {
    if
    :: number == counted && !settled[ITEM(m)] -> settled[ITEM(m)] = true
    :: else -> goto delete
    fi
  };
  if :: atomic { trouble -> troubles++; goto killed } :: true fi;
  atomic { if :: number == counted -> tally++ :: else fi };
#else
  atomic { count_it() };
#endif
  if
  :: atomic { trouble -> troubles++; goto killed }
  :: atomic { trouble -> troubles++; goto complete }                  /* the answer was lost: asked again */
  :: true
  fi;
delete:
  atomic { if :: held -> take_off_the_queue() :: else fi; goto again };
#else
  atomic {
    if
#ifdef MUTANT_COUNTED_UNLEASED
    :: number == counted -> settled[ITEM(m)] = true; tally++; take_off_the_queue();
       assert(tally == settled[0] + settled[1])
#endif
    :: held -> count_it(); take_off_the_queue()
    :: else                                                           /* refused */
    fi
  };
  if
  :: atomic { trouble -> troubles++; goto complete }                  /* the answer was lost: asked again */
  :: goto again
  fi;
#endif
killed:
  atomic { if :: held -> token[m] = THE_DEAD :: else fi; goto again } /* another worker, in its place */
done:
  skip
}

#define job_held (job_token == ME)
#ifdef AZURE
#define MAY_MANAGE true                 /* the table knows of no lease: the number of the scan stands for it */
#else
#ifdef MUTANT_MANAGES_UNLEASED
#define MAY_MANAGE true
#else
#define MAY_MANAGE job_held
#endif
#endif

inline post(i) {
#ifdef AZURE
  if
  :: my != counted -> stale++           /* of a scan that was left behind */
  :: my == counted && !there[i] -> there[i] = true; deliveries[i] = 0
  :: my == counted && there[i] && i == 0 && !there[2] -> there[2] = true; deliveries[2] = 0
  :: else
  fi
#else
  if
  :: !over && !there[i] && !settled[i] -> there[i] = true; total++
  :: else                               /* its id was published before */
  fi
#endif
}

active [MANAGERS] proctype Manager() {
  byte my, found, posted, before;       /* scan, items it found, those posted (one bit each), the tally of the first look */
again:
  atomic {
    my = 0; found = 0; posted = 0; before = 0;
    if
    :: over -> goto done
    :: !over && !job_leased -> job_leased = true; job_token = ME
    fi
  }
#ifdef AZURE
  /* Another step: the message is from the queue, the record is in the table. */
  if :: atomic { trouble -> troubles++; goto killed } :: true fi;
#endif
  atomic {
    if
    :: over -> goto done
#ifdef AZURE
#ifndef MUTANT_SCANS_COUNT_AS_ONE
    :: state == scanning -> leave_scan_behind() /* another manager began it, and did not finish */
#endif
#endif
    :: else
    fi;
    my = counted;
    if :: state == queued -> state = scanning :: else fi;
    if :: finished -> goto wait :: else fi
  }
scan:
  atomic { posted = 0; if :: found = 1 :: found = 2 fi }
  do
  :: atomic { over -> goto done }
  :: atomic { trouble -> troubles++; goto killed }
  :: atomic { !job_held -> goto again } /* the renewal says that the lease is lost */
  :: atomic { !(posted & 1) -> post(0); posted = posted | 1 }
  :: atomic { found == 2 && !(posted & 2) -> post(1); posted = posted | 2 }
  :: atomic { trouble && (posted & 1) -> troubles++; posted = posted & 2 } /* the answer was lost: posted twice */
  :: atomic { posted == (1 << found) - 1 -> break }
  od;
  atomic {
    posted = 0;
    if
    :: over -> goto done
#ifdef AZURE
#ifndef MUTANT_TOTALS_OF_ANY_SCAN
    :: !over && my != counted ->        /* another manager left this scan behind: its totals are not recorded */
#ifdef MUTANT_HELD_FOR_EVER
       goto wait
#else
       if :: job_held -> job_leased = false; job_token = NOBODY :: else fi;
       goto again                       /* and the job goes to whoever takes it now */
#endif
#endif
    :: else -> total = found
#else
    :: !over && !(MAY_MANAGE) -> goto again /* refused: another manager has the job */
    :: else                             /* all that was ever published has to be settled */
#endif
    fi;
    finished = true; state = warming
  }
wait:
  if
  :: atomic { over -> goto done }
  :: atomic { trouble && !over -> troubles++; goto killed }
  :: atomic { !job_held && !over -> goto again }
  :: atomic { !over && finished && tally >= total ->
       state = completed;
       assert(settled[0]);                          /* nothing is lost of what the scan found */
       assert(total < 2 || settled[1]);
       goto done }
#ifndef MUTANT_WAITS_FOR_NOBODY
  :: atomic { !over && !finished -> goto scan }        /* another began the scan again, and may have ended since */
#endif
#ifndef MUTANT_NO_SCAN_AGAIN
  :: atomic { !over && is_stranded -> before = tally }
#endif
  fi;
  atomic { /* seen twice: an empty queue, and no receipt meanwhile */
    if
    :: over || !is_stranded || tally != before -> before = 0; goto wait
    :: else
    fi
  }
  atomic {
    if
    :: over -> goto done
    :: !over && !(MAY_MANAGE) -> goto again  /* refused: another manager has the job */
    :: !over && MAY_MANAGE && (begun_again -> !finished : finished) ->
       before = 0;
       if
#ifdef AZURE
#ifndef MUTANT_TWO_SHARE_A_SCAN
       :: begun_again -> leave_scan_behind() /* by a call whose answer was lost; or another manager is at it */
#endif
#endif
       :: !begun_again -> begun_again = true; state = scanning; leave_scan_behind()
       :: else
       fi;
       my = counted; goto scan
    :: else
#ifndef MUTANT_FAILS_WITHOUT_A_LOOK
       -> if :: !is_stranded || tally != before -> before = 0; goto wait :: else fi
#endif
    fi
  }
  atomic {
    if
    :: over
    :: else -> state = failed; assert(thefts >= 2) /* no job fails without a reason */
    fi;
    goto done
  }
killed:
  atomic { if :: job_held -> job_token = THE_DEAD :: else fi; goto again }
done:
  atomic { my = 0; found = 0; posted = 0; before = 0 }
}

#define LEASE_OF_THE_DEAD(m) :: atomic { leased[m] && token[m] == THE_DEAD -> leased[m] = false; token[m] = NOBODY }
#define LEASE_OF_THE_LIVING(m) :: atomic { trouble && leased[m] && token[m] != THE_DEAD -> troubles++; leased[m] = false }
#define THEFT(m) :: atomic { trouble && there[m] -> troubles++; thefts++; \
                     there[m] = false; leased[m] = false; token[m] = NOBODY; deliveries[m] = 0 }

/* Time, in which leases run out, and another program that takes messages. */
active proctype World() {
  do
  :: over -> break
#ifndef MUTANT_NO_REDELIVERY
  LEASE_OF_THE_DEAD(0) LEASE_OF_THE_DEAD(1) LEASE_OF_THE_DEAD(MESSAGES - 1)
#endif
  :: atomic { job_leased && job_token == THE_DEAD -> job_leased = false; job_token = NOBODY }
  LEASE_OF_THE_LIVING(0) LEASE_OF_THE_LIVING(1) LEASE_OF_THE_LIVING(MESSAGES - 1)
  :: atomic { trouble && job_leased && job_token != THE_DEAD -> troubles++; job_leased = false }
  THEFT(0) THEFT(1)
  od
}

ltl always_ends { <> over }
