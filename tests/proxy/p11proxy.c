/*
 * A PKCS#11 module that stands before a real one and makes it slow, busy or failing.
 *
 * It forwards every function of the PKCS#11 v2.40 function list. No argument of a call is ever
 * written anywhere, so that no PIN can be: what it keeps are function names, times and CK_RVs.
 *
 * Settings are one text file beside the module, and not environment variables: a copy of this
 * library in a directory of its own is a token of its own, so that several live in one process;
 * a spawned worker needs to be told the module's path and nothing else; and a file can be changed
 * while processes run. All names below are in the directory of the library.
 *
 * settings   read by C_Initialize, and again by the first call after `generation` has changed in
 *            `state`. One setting a line, numbers in decimal or 0x…, times in nanoseconds:
 *              module PATH     the real module; loaded once in a process (required)
 *              sign_ns N       a C_Sign takes this long, the real one's own time included
 *              at_once N       so many C_Sign at the same time in all processes; 0 is no limit
 *              trace 0|1       write a line to `trace` for each call that returns
 *              fault ID FUNCTION FROM TIMES SCOPE ACTION [N]
 *                ID            0 to 255; the fault's counters in `state`; never used twice
 *                FROM, TIMES   it strikes at the FROM-th call of FUNCTION since it was set and at
 *                              the calls after it, TIMES calls in all; 0 is for ever
 *                SCOPE         whose calls are counted: `process` (each its own) or `all`
 *                ACTION        rv N        return N. The call is not forwarded, so that no PIN
 *                                          reaches the token; but a C_Sign that fails ends its
 *                                          operation, as the standard wants
 *                              hang        do not return, until the fault is taken away
 *                              hang N      return after N, then go on as if nothing had been
 *                              kill        SIGKILL to this process
 *                              remove N    the slot's token is pulled out and is back after N:
 *                                          until then CKR_DEVICE_REMOVED for its sessions and
 *                                          CKR_TOKEN_NOT_PRESENT for the slot, in all processes;
 *                                          its sessions, logins and object handles are gone for
 *                                          good (closed in the real module). 0: a daemon's restart
 *                              expire      close the call's session in the real module, as after
 *                                          too long a pause, and go on
 *                              logout      log the application out in the real module, and go on
 *            A hanging call holds no place among the at_once. A length query (C_Sign without a
 *            buffer) is neither slow nor limited.
 * state      shared memory of all processes, struct State below: counters of calls and faults.
 * locks      byte 0 is the queue's head, byte 1 to at_once are the places at the token; locked as
 *            open file descriptions, so that the kernel frees the place of a killed process.
 * trace      "PID TID FUNCTION CALLED SERVED ENDED RV", times of CLOCK_MONOTONIC in ns; from
 *            SERVED to ENDED a C_Sign had its place at the token.
 * log        why a C_Initialize or a call gave CKR_GENERAL_ERROR; there is none if all is well.
 *
 * Threads: any, whatever C_Initialize was promised for the real module; what must not run beside
 * a session's closing is kept apart by `in_use`. Nobody sleeps, hangs or waits for a place with a
 * lock held. Session handles are the proxy's own, so that one from before a removal never means a
 * session from after it. Notifications (CK_NOTIFY) are not passed on. Linux only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* --- what is needed of PKCS#11 v2.40 ------------------------------------------------------- */

typedef unsigned long U; /* CK_ULONG and all that are one: handles, flags, lengths, CK_RV */
typedef void *P;         /* every pointer; what it points to is the caller's and the module's */
typedef unsigned char B; /* CK_BBOOL */

enum {
    OK = 0x0,
    GENERAL_ERROR = 0x5,
    DEVICE_REMOVED = 0x32,
    FUNCTION_NOT_SUPPORTED = 0x54,
    SESSION_COUNT = 0xB1,
    SESSION_HANDLE_INVALID = 0xB3,
    TOKEN_NOT_PRESENT = 0xE0,
    BUFFER_TOO_SMALL = 0x150,
    CRYPTOKI_NOT_INITIALIZED = 0x190,
    FLAG_TOKEN_PRESENT = 0x1,
};

typedef struct {
    unsigned char description[64], manufacturer[32];
    U flags;
    unsigned char versions[4];
} SlotInfo;

/*
 * Every function in the standard's order. OWN is written out below; SLOT and SESSION are
 * forwarded as they are, with the types of what follows the slot or session.
 */
#define FUNCTIONS(OWN, SLOT, SESSION) \
    OWN(Initialize, P) \
    OWN(Finalize, P) \
    OWN(GetInfo, P) \
    OWN(GetFunctionList, P) \
    OWN(GetSlotList, B, P, P) \
    OWN(GetSlotInfo, U, P) \
    SLOT(GetTokenInfo, P) \
    SLOT(GetMechanismList, P, P) \
    SLOT(GetMechanismInfo, U, P) \
    SLOT(InitToken, P, U, P) \
    SESSION(InitPIN, P, U) \
    SESSION(SetPIN, P, U, P, U) \
    OWN(OpenSession, U, U, P, P, P) \
    OWN(CloseSession, U) \
    OWN(CloseAllSessions, U) \
    SESSION(GetSessionInfo, P) \
    SESSION(GetOperationState, P, P) \
    SESSION(SetOperationState, P, U, U, U) \
    SESSION(Login, U, P, U) \
    SESSION(Logout) \
    SESSION(CreateObject, P, U, P) \
    SESSION(CopyObject, U, P, U, P) \
    SESSION(DestroyObject, U) \
    SESSION(GetObjectSize, U, P) \
    SESSION(GetAttributeValue, U, P, U) \
    SESSION(SetAttributeValue, U, P, U) \
    SESSION(FindObjectsInit, P, U) \
    SESSION(FindObjects, P, U, P) \
    SESSION(FindObjectsFinal) \
    SESSION(EncryptInit, P, U) \
    SESSION(Encrypt, P, U, P, P) \
    SESSION(EncryptUpdate, P, U, P, P) \
    SESSION(EncryptFinal, P, P) \
    SESSION(DecryptInit, P, U) \
    SESSION(Decrypt, P, U, P, P) \
    SESSION(DecryptUpdate, P, U, P, P) \
    SESSION(DecryptFinal, P, P) \
    SESSION(DigestInit, P) \
    SESSION(Digest, P, U, P, P) \
    SESSION(DigestUpdate, P, U) \
    SESSION(DigestKey, U) \
    SESSION(DigestFinal, P, P) \
    SESSION(SignInit, P, U) \
    OWN(Sign, U, P, U, P, P) \
    SESSION(SignUpdate, P, U) \
    SESSION(SignFinal, P, P) \
    SESSION(SignRecoverInit, P, U) \
    SESSION(SignRecover, P, U, P, P) \
    SESSION(VerifyInit, P, U) \
    SESSION(Verify, P, U, P, U) \
    SESSION(VerifyUpdate, P, U) \
    SESSION(VerifyFinal, P, U) \
    SESSION(VerifyRecoverInit, P, U) \
    SESSION(VerifyRecover, P, U, P, P) \
    SESSION(DigestEncryptUpdate, P, U, P, P) \
    SESSION(DecryptDigestUpdate, P, U, P, P) \
    SESSION(SignEncryptUpdate, P, U, P, P) \
    SESSION(DecryptVerifyUpdate, P, U, P, P) \
    SESSION(GenerateKey, P, P, U, P) \
    SESSION(GenerateKeyPair, P, P, U, P, U, P, P) \
    SESSION(WrapKey, P, U, U, P, P) \
    SESSION(UnwrapKey, P, U, P, U, P, U, P) \
    SESSION(DeriveKey, P, U, P, U, P) \
    SESSION(SeedRandom, P, U) \
    SESSION(GenerateRandom, P, U) \
    SESSION(GetFunctionStatus) \
    SESSION(CancelFunction) \
    OWN(WaitForSlotEvent, U, P, P)

/* A name for each place in the list, and a list with a typed pointer in each place. */
#define NUMBER(name, ...) F_##name,
enum { FUNCTIONS(NUMBER, NUMBER, NUMBER) FUNCTION_COUNT };
_Static_assert(FUNCTION_COUNT == 68, "PKCS#11 v2.40 has 68 functions");

#define NAME(name, ...) "C_" #name,
static const char *const names[] = {FUNCTIONS(NAME, NAME, NAME)};

/* The trailing comma of a function without further arguments is what ## takes away. */
#define OWN_POINTER(name, ...) U (*name)(__VA_ARGS__);
#define MORE_POINTER(name, ...) U (*name)(U, ##__VA_ARGS__);
typedef struct {
    unsigned char major, minor;
    FUNCTIONS(OWN_POINTER, MORE_POINTER, MORE_POINTER)
} FunctionList;

/* --- shared memory: tests read it by these offsets ----------------------------------------- */

enum { FAULTS = 256, SLOTS = 64, SESSIONS = 4096, LINE = PATH_MAX + 64 };

typedef _Atomic uint64_t Counter;

typedef struct {
    Counter generation;       /* a test adds one when it has written new settings */
    _Atomic uint32_t released; /* a futex: changes whenever a place at the token is given up */
    uint32_t unused;
    struct {
        Counter calls, hits;
    } faults[FAULTS]; /* from byte 16 */
    struct {
        Counter key, removals, back_at_ns; /* key: the slot's id + 1; 0 is a free row */
    } slots[SLOTS]; /* from byte 4112 */
    struct {
        char name[32];
        Counter calls;
    } functions[FUNCTION_COUNT]; /* from byte 5648 */
} State;
_Static_assert(offsetof(State, faults) == 16 && offsetof(State, slots) == 4112 &&
                   offsetof(State, functions) == 5648 && sizeof(State) <= 16384,
               "proxy.py reads and writes these");

/* --- this process -------------------------------------------------------------------------- */

enum action { RETURN, HANG, KILL, REMOVE, EXPIRE, LOGOUT };

typedef struct {
    unsigned id;
    int function;
    uint64_t from, times;
    bool by_process;
    enum action action;
    bool has_argument;
    uint64_t argument;
} Fault;

typedef struct settings {
    struct settings *previous; /* never freed: a thread may be reading it still */
    uint64_t generation, sign_ns, at_once;
    bool bad, trace;
    char module[PATH_MAX];
    unsigned count;
    Fault faults[FAULTS];
} Settings;

typedef struct {
    Counter handle; /* the proxy's; 0 is a free row */
    Counter real, slot, removals;
} Session;

static char directory[PATH_MAX];
static State *state;
static FunctionList *real;
static int trace_file = -1;
static atomic_bool ready; /* state and real are there */
static _Atomic(Settings *) current;
static pthread_mutex_t setting_up = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t in_use = PTHREAD_RWLOCK_INITIALIZER;
static Counter own_calls[FAULTS];  /* of faults that count each process's calls */
static Counter removals_seen[SLOTS]; /* written with in_use held for writing */
static Session sessions[SESSIONS];
static Counter opened; /* sessions so far: no handle is given twice */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

static void sleep_until(uint64_t ns)
{
    /* The kernel's usual 50 µs of slack would take 1 % of the rate of a token of 5 ms. */
    struct timespec time = timespec_of(ns);
    int slack = prctl(PR_GET_TIMERSLACK);
    prctl(PR_SET_TIMERSLACK, 1);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
        continue;
    if (slack > 0)
        prctl(PR_SET_TIMERSLACK, slack);
}

static int open_beside(const char *name, int flags)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return open(path, flags | O_CLOEXEC, 0600);
}

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    char line[LINE + 64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2)
        length = (int)sizeof line - 2;
    line[length++] = '\n';
    int file = open_beside("log", O_WRONLY | O_CREAT | O_APPEND);
    if (file < 0 || write(file, line, (size_t)length) != length)
        perror("p11proxy: log");
    if (file >= 0)
        close(file);
}

/* --- settings ------------------------------------------------------------------------------ */

static bool read_fault(const char *text, Fault *fault)
{
    static const char *const actions[] = {"rv", "hang", "kill", "remove", "expire", "logout"};
    char function[32], scope[8], action[8], argument[32] = "";
    int fields = sscanf(text, "%u %31s %" SCNu64 " %" SCNu64 " %7s %7s %31s", &fault->id, function,
                        &fault->from, &fault->times, scope, action, argument);
    if (fields < 6 || fault->id >= FAULTS || fault->from == 0)
        return false;
    for (fault->function = 0; fault->function < FUNCTION_COUNT; fault->function++)
        if (strcmp(function, names[fault->function]) == 0)
            break;
    fault->by_process = strcmp(scope, "process") == 0;
    if (fault->function == FUNCTION_COUNT || (!fault->by_process && strcmp(scope, "all") != 0))
        return false;
    int number = 0;
    while (number <= LOGOUT && strcmp(action, actions[number]) != 0)
        number++;
    if (number > LOGOUT)
        return false;
    fault->action = (enum action)number;
    fault->has_argument = fields == 7;
    char *end = argument;
    fault->argument = strtoull(argument, &end, 0);
    bool takes = number == RETURN || number == REMOVE;
    return *end == '\0' && (fault->has_argument ? takes || number == HANG : !takes);
}

static bool read_setting(char *line, Settings *settings)
{
    size_t word = strcspn(line, " ");
    const char *value = line[word] == '\0' ? line + word : line + word + 1;
    line[word] = '\0';
    if (strcmp(line, "module") == 0)
        return *value == '/' &&
               snprintf(settings->module, PATH_MAX, "%s", value) < PATH_MAX;
    if (strcmp(line, "fault") == 0)
        return settings->count < FAULTS && read_fault(value, &settings->faults[settings->count++]);
    char *end;
    uint64_t number = strtoull(value, &end, 0);
    if (end == value || *end != '\0')
        return false;
    if (strcmp(line, "sign_ns") == 0)
        settings->sign_ns = number;
    else if (strcmp(line, "at_once") == 0)
        settings->at_once = number;
    else if (strcmp(line, "trace") == 0)
        settings->trace = number != 0;
    else
        return false;
    return true;
}

/* Read the settings anew; called with setting_up held. */
static Settings *read_settings(uint64_t generation)
{
    Settings *settings = calloc(1, sizeof *settings);
    if (settings == NULL)
        abort();
    settings->generation = generation;
    settings->previous = atomic_load(&current);
    int file = open_beside("settings", O_RDONLY);
    FILE *stream = file < 0 ? NULL : fdopen(file, "r");
    if (stream == NULL) {
        complain("settings can't be read: %s", strerror(errno));
        settings->bad = true;
    } else {
        char line[LINE];
        for (int number = 1; fgets(line, sizeof line, stream) != NULL; number++) {
            line[strcspn(line, "\n")] = '\0';
            if (line[0] != '\0' && line[0] != '#' && !read_setting(line, settings)) {
                complain("settings line %d is not understood: %s", number, line);
                settings->bad = true;
            }
        }
        fclose(stream);
    }
    if (settings->trace && trace_file < 0)
        trace_file = open_beside("trace", O_WRONLY | O_CREAT | O_APPEND);
    atomic_store(&current, settings);
    return settings;
}

static Settings *latest_settings(void)
{
    Settings *settings = atomic_load(&current);
    if (settings->generation == atomic_load(&state->generation))
        return settings;
    pthread_mutex_lock(&setting_up);
    uint64_t generation = atomic_load(&state->generation);
    settings = atomic_load(&current);
    if (settings->generation != generation)
        settings = read_settings(generation);
    pthread_mutex_unlock(&setting_up);
    return settings;
}

static FunctionList *load_real(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    U (*get_list)(P) = NULL;
    if (library != NULL)
        *(void **)&get_list = dlsym(library, "C_GetFunctionList");
    if (get_list == NULL) {
        complain("the real module can't be loaded: %s", dlerror());
        return NULL;
    }
    FunctionList *list = NULL;
    if (get_list(&list) != OK || list == NULL) {
        complain("the real module gave no function list: %s", path);
        return NULL;
    }
    return list;
}

static State *map_state(void)
{
    int file = open_beside("state", O_RDWR | O_CREAT);
    if (file < 0 || ftruncate(file, 16384) != 0) {
        complain("state can't be opened: %s", strerror(errno));
        return NULL;
    }
    State *memory = mmap(NULL, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) {
        complain("state can't be mapped: %s", strerror(errno));
        return NULL;
    }
    /* Every process writes the same names, so it does not matter who comes first. */
    for (int i = 0; i < FUNCTION_COUNT; i++)
        snprintf(memory->functions[i].name, sizeof memory->functions[i].name, "%s", names[i]);
    return memory;
}

/* Once in a process: find the directory, map the state, load the real module. */
static bool set_up(void)
{
    pthread_mutex_lock(&setting_up);
    if (directory[0] == '\0') {
        Dl_info info;
        char path[PATH_MAX];
        if (dladdr(names, &info) == 0 || realpath(info.dli_fname, path) == NULL)
            abort();
        *strrchr(path, '/') = '\0';
        memcpy(directory, path, sizeof directory);
    }
    if (state == NULL)
        state = map_state();
    if (state != NULL) {
        Settings *settings = read_settings(atomic_load(&state->generation));
        if (real == NULL && !settings->bad)
            real = load_real(settings->module);
    }
    bool done = state != NULL && real != NULL;
    atomic_store(&ready, done);
    pthread_mutex_unlock(&setting_up);
    return done;
}

/* --- slots and removals -------------------------------------------------------------------- */

/* The row of a slot, the same in all processes; -1 when there are too many. */
static int row_of_slot(U slot)
{
    uint64_t key = (uint64_t)slot + 1;
    for (int row = 0; row < SLOTS; row++) {
        uint64_t found = 0;
        if (atomic_load(&state->slots[row].key) == key ||
            atomic_compare_exchange_strong(&state->slots[row].key, &found, key) || found == key)
            return row;
    }
    complain("more than %d slots", SLOTS);
    return -1;
}

static bool is_absent(int row)
{
    uint64_t back_at = atomic_load(&state->slots[row].back_at_ns);
    return back_at != 0 && now_ns() < back_at;
}

static void remove_token(int row, uint64_t ns)
{
    uint64_t now = now_ns();
    atomic_store(&state->slots[row].back_at_ns, ns > UINT64_MAX - now ? UINT64_MAX : now + ns);
    /* Last: who sees that the token was removed must also see until when. */
    atomic_fetch_add(&state->slots[row].removals, 1);
}

/* In each process, before the first call on a slot since its token was removed. */
static void close_what_was_removed(int row)
{
    if (atomic_load(&removals_seen[row]) == atomic_load(&state->slots[row].removals))
        return;
    pthread_rwlock_wrlock(&in_use);
    uint64_t removals = atomic_load(&state->slots[row].removals);
    if (atomic_load(&removals_seen[row]) != removals) {
        /* It also ends the login. The sessions stay known here, to be told that they are gone. */
        real->CloseAllSessions((U)(atomic_load(&state->slots[row].key) - 1));
        atomic_store(&removals_seen[row], removals);
    }
    pthread_rwlock_unlock(&in_use);
}

/* --- sessions ------------------------------------------------------------------------------ */

static Session *find_session(U handle)
{
    Session *session = &sessions[(handle - 1) % SESSIONS];
    return handle != 0 && atomic_load(&session->handle) == handle ? session : NULL;
}

/* The proxy's handle for a session of the real module; 0 when there is no room. */
static U add_session(U handle, int row)
{
    U given = 0;
    pthread_mutex_lock(&opening);
    for (U tries = 0; tries < SESSIONS && given == 0; tries++) {
        uint64_t next = atomic_fetch_add(&opened, 1);
        Session *session = &sessions[next % SESSIONS];
        if (atomic_load(&session->handle) != 0)
            continue;
        atomic_store(&session->real, handle);
        atomic_store(&session->slot, (uint64_t)row);
        atomic_store(&session->removals, atomic_load(&removals_seen[row]));
        given = next + 1;
        atomic_store(&session->handle, given);
    }
    pthread_mutex_unlock(&opening);
    return given;
}

static void forget_sessions(int row)
{
    for (int i = 0; i < SESSIONS; i++)
        if (row < 0 || atomic_load(&sessions[i].slot) == (uint64_t)row)
            atomic_store(&sessions[i].handle, 0);
}

/* --- a call -------------------------------------------------------------------------------- */

typedef struct {
    int function, row; /* row: of the slot that it is about, or -1 */
    U rv, session;     /* session: the real module's handle */
    Session *known;    /* NULL when it has no session, or one that is not known */
    uint64_t removals; /* of the session's token, when it was opened */
    bool locked;       /* in_use is held for reading */
    bool struck;       /* by a fault that says what to return */
    bool trace;
    uint64_t called, served, ended;
} Call;

/* Count a call for each fault of its function; the first one that strikes, or NULL. */
static const Fault *struck_by(const Settings *settings, int function)
{
    const Fault *first = NULL;
    for (unsigned i = 0; i < settings->count; i++) {
        const Fault *fault = &settings->faults[i];
        if (fault->function != function)
            continue;
        Counter *calls =
            fault->by_process ? &own_calls[fault->id] : &state->faults[fault->id].calls;
        uint64_t number = atomic_fetch_add(calls, 1) + 1;
        bool strikes = number >= fault->from &&
                       (fault->times == 0 || number - fault->from < fault->times);
        if (strikes && first == NULL)
            first = fault;
    }
    return first;
}

static void hang(const Fault *fault)
{
    uint64_t end = now_ns() + fault->argument;
    for (;;) {
        if (fault->has_argument && now_ns() >= end)
            return;
        const Settings *settings = latest_settings();
        bool still = false;
        for (unsigned i = 0; i < settings->count; i++)
            still = still || settings->faults[i].id == fault->id;
        if (!still)
            return;
        uint64_t next = now_ns() + 5000000;
        sleep_until(fault->has_argument && end < next ? end : next);
    }
}

/* Do a fault to a call, with no lock held; it sets rv when the call must not go on. */
static void strike(const Fault *fault, Call *call)
{
    atomic_fetch_add(&state->faults[fault->id].hits, 1);
    bool has_session = call->known != NULL;
    if ((fault->action == REMOVE && call->row < 0) || (fault->action >= EXPIRE && !has_session)) {
        complain("fault %u: this call of %s has no slot or session", fault->id,
                 names[call->function]);
        call->rv = GENERAL_ERROR;
        return;
    }
    switch (fault->action) {
    case RETURN:
        call->rv = (U)fault->argument;
        call->struck = true;
        break;
    case HANG:
        hang(fault);
        break;
    case KILL:
        for (;;)
            kill(getpid(), SIGKILL);
    case REMOVE:
        remove_token(call->row, fault->argument);
        break;
    case EXPIRE:
    case LOGOUT:
        pthread_rwlock_wrlock(&in_use);
        if (fault->action == LOGOUT) {
            real->Logout(call->session);
        } else {
            real->CloseSession(call->session);
            atomic_store(&call->known->handle, 0);
            call->session = 0;
            call->known = NULL;
            call->row = -1;
        }
        pthread_rwlock_unlock(&in_use);
        break;
    }
}

/* Begin a call; it goes on if this is true. Every call that was begun is ended by leave(). */
static bool enter(Call *call, int function, int row, Session *known)
{
    *call = (Call){.function = function, .row = row, .known = known};
    if (!atomic_load(&ready)) {
        call->rv = CRYPTOKI_NOT_INITIALIZED;
        return false;
    }
    const Settings *settings = latest_settings();
    call->trace = settings->trace;
    call->called = call->trace ? now_ns() : 0;
    atomic_fetch_add(&state->functions[function].calls, 1);
    if (known != NULL) {
        call->session = atomic_load(&known->real);
        call->row = (int)atomic_load(&known->slot);
        call->removals = atomic_load(&known->removals);
    }
    if (settings->bad) {
        call->rv = GENERAL_ERROR;
        return false;
    }
    const Fault *fault = struck_by(settings, function);
    if (fault != NULL)
        strike(fault, call);
    return call->rv == OK && !call->struck;
}

static bool enter_slot(Call *call, int function, U slot)
{
    if (!enter(call, function, atomic_load(&ready) ? row_of_slot(slot) : -1, NULL))
        return false;
    if (call->row < 0) {
        call->rv = GENERAL_ERROR;
        return false;
    }
    close_what_was_removed(call->row);
    if (is_absent(call->row)) {
        call->rv = TOKEN_NOT_PRESENT;
        return false;
    }
    pthread_rwlock_rdlock(&in_use);
    call->locked = true;
    return true;
}

/* Lock a session's call in; false when its token or session has gone. */
static bool go_on_with_session(Call *call)
{
    if (call->row >= 0) {
        close_what_was_removed(call->row);
        if (is_absent(call->row)) {
            call->rv = DEVICE_REMOVED;
            return false;
        }
    }
    pthread_rwlock_rdlock(&in_use);
    call->locked = true;
    /* Compared under the lock, because another thread may have closed it a moment ago. A handle
     * that is not known is 0 here, and the real module says what it thinks of that. */
    if (call->row >= 0 && call->removals != atomic_load(&removals_seen[call->row])) {
        call->rv = SESSION_HANDLE_INVALID;
        return false;
    }
    return true;
}

static bool enter_session(Call *call, int function, U handle)
{
    return enter(call, function, -1, find_session(handle)) && go_on_with_session(call);
}

static void unlock(Call *call)
{
    if (call->locked)
        pthread_rwlock_unlock(&in_use);
    call->locked = false;
}

static U leave(Call *call)
{
    unlock(call);
    if (call->trace && trace_file >= 0) {
        char line[160];
        if (call->ended == 0)
            call->ended = now_ns();
        int length = snprintf(line, sizeof line,
                              "%d %ld %s %" PRIu64 " %" PRIu64 " %" PRIu64 " 0x%lx\n", getpid(),
                              syscall(SYS_gettid), names[call->function], call->called,
                              call->served == 0 ? call->called : call->served, call->ended,
                              call->rv);
        if (write(trace_file, line, (size_t)length) != length)
            complain("trace can't be written: %s", strerror(errno));
    }
    return call->rv;
}

/* --- places at the token ------------------------------------------------------------------- */

static bool lock_bytes(int file, int command, short type, off_t first, off_t count)
{
    struct flock lock = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count};
    int done;
    do
        done = fcntl(file, command, &lock);
    while (done != 0 && errno == EINTR);
    return done == 0;
}

/*
 * Wait for a place at the token; the file that holds it, or -1. Who comes first holds the queue's
 * head until a place is free, so that nobody who comes back at once overtakes him.
 */
static int take_place(void)
{
    int file = open_beside("locks", O_RDWR | O_CREAT);
    if (file < 0 || !lock_bytes(file, F_OFD_SETLKW, F_WRLCK, 0, 1)) {
        complain("locks can't be used: %s", strerror(errno));
        if (file >= 0)
            close(file);
        return -1;
    }
    for (;;) {
        uint32_t seen = atomic_load(&state->released);
        uint64_t at_once = latest_settings()->at_once;
        for (uint64_t place = 1; at_once == 0 || place <= at_once; place++) {
            if (at_once == 0 || lock_bytes(file, F_OFD_SETLK, F_WRLCK, (off_t)place, 1)) {
                lock_bytes(file, F_OFD_SETLK, F_UNLCK, 0, 1);
                return file;
            }
        }
        /* A killed process gives its place back without a word: look again now and then. */
        struct timespec wait = timespec_of(20000000);
        syscall(SYS_futex, &state->released, FUTEX_WAIT, seen, &wait, NULL, 0);
    }
}

static void give_up_place(int file)
{
    /* Unlocked and not only closed: a child forked meanwhile may hold the same description. */
    lock_bytes(file, F_OFD_SETLK, F_UNLCK, 0, 0);
    atomic_fetch_add(&state->released, 1);
    syscall(SYS_futex, &state->released, FUTEX_WAKE, 1, NULL, NULL, 0);
    close(file);
}

/* --- functions that are more than forwarded ------------------------------------------------ */

#define FORWARD(call, name, ...) \
    ((call)->rv = real->name == NULL ? (U)FUNCTION_NOT_SUPPORTED : real->name(__VA_ARGS__))

static U p_Initialize(P arguments)
{
    if (!set_up())
        return GENERAL_ERROR;
    Call call;
    if (enter(&call, F_Initialize, -1, NULL))
        FORWARD(&call, Initialize, arguments);
    return leave(&call);
}

static U p_Finalize(P reserved)
{
    Call call;
    if (enter(&call, F_Finalize, -1, NULL) && FORWARD(&call, Finalize, reserved) == OK)
        forget_sessions(-1);
    return leave(&call);
}

static U p_GetInfo(P info)
{
    Call call;
    if (enter(&call, F_GetInfo, -1, NULL))
        FORWARD(&call, GetInfo, info);
    return leave(&call);
}

static U p_WaitForSlotEvent(U flags, P slot, P reserved)
{
    Call call;
    if (enter(&call, F_WaitForSlotEvent, -1, NULL))
        FORWARD(&call, WaitForSlotEvent, flags, slot, reserved);
    return leave(&call);
}

/* Leave out the slots whose tokens were removed, when only those with a token are asked for. */
static U present_slots(P list_of_caller, P count_of_caller)
{
    U found[SLOTS], here[SLOTS], count = SLOTS, present = 0;
    U rv = real->GetSlotList(1, found, &count);
    if (rv == BUFFER_TOO_SMALL) {
        complain("the real module has more than %d slots", SLOTS);
        return GENERAL_ERROR;
    }
    if (rv != OK)
        return rv;
    for (U i = 0; i < count; i++) {
        int row = row_of_slot(found[i]);
        if (row >= 0 && !is_absent(row))
            here[present++] = found[i];
    }
    U *list = list_of_caller, *room = count_of_caller;
    rv = list != NULL && *room < present ? (U)BUFFER_TOO_SMALL : (U)OK;
    if (list != NULL && rv == OK)
        memcpy(list, here, present * sizeof *here);
    *room = present;
    return rv;
}

static U p_GetSlotList(B token_present, P list, P count)
{
    Call call;
    if (enter(&call, F_GetSlotList, -1, NULL)) {
        if (token_present && count != NULL)
            call.rv = present_slots(list, count);
        else
            FORWARD(&call, GetSlotList, token_present, list, count);
    }
    return leave(&call);
}

static U p_GetSlotInfo(U slot, P info)
{
    Call call;
    bool goes_on = enter_slot(&call, F_GetSlotInfo, slot);
    bool absent = !goes_on && !call.struck && call.rv == TOKEN_NOT_PRESENT;
    /* A reader without a token answers too. */
    if ((goes_on || absent) && FORWARD(&call, GetSlotInfo, slot, info) == OK && absent)
        ((SlotInfo *)info)->flags &= ~(U)FLAG_TOKEN_PRESENT;
    return leave(&call);
}

static U p_OpenSession(U slot, U flags, P application, P notify, P session)
{
    (void)notify;
    Call call;
    U handle = 0;
    if (enter_slot(&call, F_OpenSession, slot) &&
        FORWARD(&call, OpenSession, slot, flags, application, NULL,
                session == NULL ? NULL : &handle) == OK) {
        U given = session == NULL ? 0 : add_session(handle, call.row);
        if (given == 0) {
            real->CloseSession(handle);
            call.rv = SESSION_COUNT;
        } else {
            *(U *)session = given;
        }
    }
    return leave(&call);
}

static U p_CloseSession(U session)
{
    Call call;
    bool goes_on = enter_session(&call, F_CloseSession, session);
    if (goes_on)
        FORWARD(&call, CloseSession, call.session);
    /* One that went with its token is forgotten too, once its owner has heard of it. */
    if (call.known != NULL && !call.struck && (call.rv == OK || !goes_on))
        atomic_store(&call.known->handle, 0);
    return leave(&call);
}

static U p_CloseAllSessions(U slot)
{
    Call call;
    if (enter_slot(&call, F_CloseAllSessions, slot) &&
        FORWARD(&call, CloseAllSessions, slot) == OK)
        forget_sessions(call.row);
    return leave(&call);
}

static U p_Sign(U session, P data, U length, P signature, P signature_length)
{
    Call call;
    int place = -1;
    bool goes_on = enter_session(&call, F_Sign, session);
    const Settings *settings = goes_on ? latest_settings() : NULL;
    if (goes_on && signature != NULL && settings->at_once != 0) {
        /* Waiting may take long, and no lock is held for long: the session is looked up anew. */
        unlock(&call);
        place = take_place();
        if (place < 0) {
            call.rv = GENERAL_ERROR;
            return leave(&call);
        }
        settings = latest_settings();
        goes_on = go_on_with_session(&call);
    }
    if (goes_on) {
        call.served = now_ns();
        FORWARD(&call, Sign, call.session, data, length, signature, signature_length);
        unlock(&call);
        if (call.rv == OK && signature != NULL && settings->sign_ns != 0)
            sleep_until(call.served + settings->sign_ns);
        call.ended = now_ns();
    } else if (call.struck && call.known != NULL && call.rv != BUFFER_TOO_SMALL) {
        /* Only a signature that nobody sees ends the operation in the real module. */
        unsigned char unseen[4096];
        U room = sizeof unseen;
        U rv = call.rv;
        if (go_on_with_session(&call))
            real->Sign(call.session, data, length, unseen, &room);
        call.rv = rv;
    }
    if (place >= 0)
        give_up_place(place);
    return leave(&call);
}

static FunctionList list;

static U p_GetFunctionList(P place)
{
    *(FunctionList **)place = &list;
    return OK;
}

/* --- the others, written by the preprocessor ----------------------------------------------- */

#define DECLARE_0()
#define DECLARE_1(type) , type a1
#define DECLARE_2(type, ...) , type a2 DECLARE_1(__VA_ARGS__)
#define DECLARE_3(type, ...) , type a3 DECLARE_2(__VA_ARGS__)
#define DECLARE_4(type, ...) , type a4 DECLARE_3(__VA_ARGS__)
#define DECLARE_5(type, ...) , type a5 DECLARE_4(__VA_ARGS__)
#define DECLARE_6(type, ...) , type a6 DECLARE_5(__VA_ARGS__)
#define DECLARE_7(type, ...) , type a7 DECLARE_6(__VA_ARGS__)
#define PASS_0
#define PASS_1 , a1
#define PASS_2 , a2 PASS_1
#define PASS_3 , a3 PASS_2
#define PASS_4 , a4 PASS_3
#define PASS_5 , a5 PASS_4
#define PASS_6 , a6 PASS_5
#define PASS_7 , a7 PASS_6
#define NINTH(a, b, c, d, e, f, g, h, ninth, ...) ninth
#define COUNT(...) NINTH(0, ##__VA_ARGS__, 7, 6, 5, 4, 3, 2, 1, 0)
#define JOIN_NOW(a, b) a##b
#define JOIN(a, b) JOIN_NOW(a, b)

#define NOTHING(...)
#define FORWARD_SLOT(name, ...) \
    static U p_##name(U slot JOIN(DECLARE_, COUNT(__VA_ARGS__))(__VA_ARGS__)) \
    { \
        Call call; \
        if (enter_slot(&call, F_##name, slot)) \
            FORWARD(&call, name, slot JOIN(PASS_, COUNT(__VA_ARGS__))); \
        return leave(&call); \
    }
#define FORWARD_SESSION(name, ...) \
    static U p_##name(U session JOIN(DECLARE_, COUNT(__VA_ARGS__))(__VA_ARGS__)) \
    { \
        Call call; \
        if (enter_session(&call, F_##name, session)) \
            FORWARD(&call, name, call.session JOIN(PASS_, COUNT(__VA_ARGS__))); \
        return leave(&call); \
    }
FUNCTIONS(NOTHING, FORWARD_SLOT, FORWARD_SESSION)

#define ENTRY(name, ...) .name = p_##name,
static FunctionList list = {.major = 2, .minor = 40, FUNCTIONS(ENTRY, ENTRY, ENTRY)};

/* The one function that a program looks up by its name. */
U C_GetFunctionList(FunctionList **place);
U C_GetFunctionList(FunctionList **place)
{
    return p_GetFunctionList(place);
}
