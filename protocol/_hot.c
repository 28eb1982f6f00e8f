/* The functions that every message passes, compiled. protocol/plain.py has each of them in Python and says what it does;
 * a test holds the two equal. Nothing here keeps a state, reads a clock or calls back into Python. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define WHOLE_TEXT 0x81
#define WHOLE_BINARY 0x82
#define RSV1 0x40
#define LONGEST_KEY 128
#define LONGEST_NUMBER 20 /* digits of 2^64, or of -2^63 with its sign */
#define LONGEST_HEAD 10   /* of an unmasked frame, RFC 6455 section 5.2 */
#define LONGEST_PACKED 9  /* an integer of 64 bits in MessagePack */
#define MAX_DEPTH 100     /* as in protocol/plain.py */

/* Writing text. */

typedef struct {
    char digits[LONGEST_NUMBER];
    int start;
} Number;

/* Write an integer's digits, two at a time; fail with Python's own error where it is none of 64 bits. */
static int
number_of(PyObject *object, Number *number)
{
    static const char pairs[] = "0001020304050607080910111213141516171819"
                                "2021222324252627282930313233343536373839"
                                "4041424344454647484950515253545556575859"
                                "6061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred())
        return -1;
    unsigned long long rest = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
    int at = LONGEST_NUMBER;
    for (; rest >= 100; rest /= 100) {
        at -= 2;
        memcpy(number->digits + at, pairs + 2 * (rest % 100), 2);
    }
    if (rest >= 10) {
        at -= 2;
        memcpy(number->digits + at, pairs + 2 * rest, 2);
    } else {
        number->digits[--at] = (char)('0' + rest);
    }
    if (value < 0)
        number->digits[--at] = '-';
    number->start = at;
    return 0;
}

static inline Py_ssize_t
digits_of(const Number *number)
{
    return LONGEST_NUMBER - number->start;
}

/* A piece of a text. Pieces are measured first, and then copied into one object. */
typedef struct {
    const char *text;
    Py_ssize_t size;
} Piece;

#define WORDS(text) ((Piece){text, sizeof(text) - 1})

static inline Piece
digits(const Number *number)
{
    return (Piece){number->digits + number->start, digits_of(number)};
}

static int
is_text_object(PyObject *object)
{
    if (PyUnicode_Check(object))
        return 1;
    PyErr_SetString(PyExc_TypeError, "a text is wanted");
    return 0;
}

/* Take a text that JSON writes as it is; 0 where it is another one, -1 with an error where it is no text. */
static int
plain_text(PyObject *object, Piece *piece)
{
    if (!is_text_object(object))
        return -1;
    if (!PyUnicode_IS_ASCII(object))
        return 0;
    piece->text = (const char *)PyUnicode_1BYTE_DATA(object);
    piece->size = PyUnicode_GET_LENGTH(object);
    for (Py_ssize_t at = 0; at < piece->size; at++) {
        unsigned char byte = (unsigned char)piece->text[at];
        if (byte < 0x20 || byte == '"' || byte == '\\')
            return 0;
    }
    return 1;
}

/* Write a number in `width` bytes, the highest first. */
static inline void
put_number(char *to, uint64_t number, int width)
{
    for (int index = 0; index < width; index++)
        to[index] = (char)(number >> (8 * (width - 1 - index)));
}

/* Make one whole unmasked frame of the pieces, one after the other. Inline, so that words are copied without a call. */
static inline __attribute__((always_inline)) PyObject *
frame_of(int first, const Piece *pieces, int count)
{
    Py_ssize_t size = 0;
#pragma GCC unroll 20
    for (int index = 0; index < count; index++)
        size += pieces[index].size;
    char head[LONGEST_HEAD] = {(char)first};
    int head_size = 2;
    if (size < 126) {
        head[1] = (char)size;
    } else {
        int wide = size < 65536 ? 2 : 8;
        head[1] = wide == 2 ? 126 : 127;
        head_size += wide;
        put_number(head + 2, (uint64_t)size, wide);
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, head_size + size);
    if (frame == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(frame);
    memcpy(to, head, (size_t)head_size);
    to += head_size;
#pragma GCC unroll 20
    for (int index = 0; index < count; index++) {
        memcpy(to, pieces[index].text, (size_t)pieces[index].size);
        to += pieces[index].size;
    }
    return frame;
}

static int
is_called_with(Py_ssize_t given, Py_ssize_t wanted, const char *name)
{
    if (given == wanted)
        return 1;
    PyErr_Format(PyExc_TypeError, "%s takes %zd arguments", name, wanted);
    return 0;
}

static int
is_bytes(PyObject *object)
{
    if (PyBytes_Check(object))
        return 1;
    PyErr_SetString(PyExc_TypeError, "bytes are wanted");
    return 0;
}

#define FRAME(first, pieces) frame_of(first, pieces, (int)(sizeof(pieces) / sizeof(*(pieces))))

/* Take several texts by `take`; 1 if all can be written, 0 if one cannot, -1 with an error if one is no text. */
static inline __attribute__((always_inline)) int
all_texts(PyObject *const *objects, Piece *pieces, int count, int (*take)(PyObject *, Piece *))
{
    int all = 1;
#pragma GCC unroll 2
    for (int index = 0; index < count; index++) {
        int one = take(objects[index], &pieces[index]);
        if (one < 0)
            return -1;
        all &= one;
    }
    return all;
}

/* Take a message's channel and epoch, sender and key from its arguments; else as `all_texts`. */
static inline __attribute__((always_inline)) int
texts_of_message(PyObject *const *given, Piece *texts, int (*take)(PyObject *, Piece *))
{
    int place = all_texts(given, texts, 2, take);
    int from = place < 0 ? -1 : all_texts(given + 3, texts + 2, 2, take);
    return from < 0 ? -1 : place & from;
}

static PyObject *
message_frame(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Number seq, at;
    Piece texts[4];
    if (!is_called_with(count, 7, "message_frame") || !is_bytes(given[6]) || number_of(given[2], &seq) < 0 ||
        number_of(given[5], &at) < 0)
        return NULL;
    int is_plain = texts_of_message(given, texts, plain_text);
    if (is_plain < 0)
        return NULL;
    if (!is_plain)
        Py_RETURN_NONE;
    Piece pieces[] = {
        WORDS("{\"type\":\"message\",\"channel\":\""),
        texts[0],
        WORDS("\",\"epoch\":\""),
        texts[1],
        WORDS("\",\"seq\":"),
        digits(&seq),
        WORDS(",\"from\":\""),
        texts[2],
        WORDS("\",\"key\":\""),
        texts[3],
        WORDS("\",\"at\":"),
        digits(&at),
        WORDS(",\"data\":"),
        {PyBytes_AS_STRING(given[6]), PyBytes_GET_SIZE(given[6])},
        WORDS("}"),
    };
    return FRAME(WHOLE_TEXT, pieces);
}

static PyObject *
sent_frame(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Number id, seq, at;
    Piece place[2]; /* channel and epoch */
    if (!is_called_with(count, 5, "sent_frame") || number_of(given[0], &id) < 0 || number_of(given[3], &seq) < 0 ||
        number_of(given[4], &at) < 0)
        return NULL;
    int is_plain = all_texts(given + 1, place, 2, plain_text);
    if (is_plain < 0)
        return NULL;
    if (!is_plain)
        Py_RETURN_NONE;
    Piece pieces[] = {
        WORDS("{\"type\":\"sent\",\"id\":"),
        digits(&id),
        WORDS(",\"channel\":\""),
        place[0],
        WORDS("\",\"epoch\":\""),
        place[1],
        WORDS("\",\"seq\":"),
        digits(&seq),
        WORDS(",\"at\":"),
        digits(&at),
        WORDS("}"),
    };
    return FRAME(WHOLE_TEXT, pieces);
}

/* The same in MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md). */

/* What stands before a text, or an integer as a whole. */
typedef struct {
    char bytes[LONGEST_PACKED];
    int size;
} Head;

static void
set_head(Head *head, int first, uint64_t number, int width)
{
    head->bytes[0] = (char)first;
    put_number(head->bytes + 1, number, width);
    head->size = 1 + width;
}

static inline Piece
packed(const Head *head)
{
    return (Piece){head->bytes, head->size};
}

/* Write an integer as shortly as it can be; fail with Python's own error where it is none of 64 bits. */
static int
pack_number(PyObject *object, Head *head)
{
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred())
        return -1;
    uint64_t bits = (uint64_t)value;
    if (value >= 0) {
        if (bits < 0x80)
            set_head(head, (int)bits, 0, 0);
        else if (bits <= UINT8_MAX)
            set_head(head, 0xCC, bits, 1);
        else if (bits <= UINT16_MAX)
            set_head(head, 0xCD, bits, 2);
        else if (bits <= UINT32_MAX)
            set_head(head, 0xCE, bits, 4);
        else
            set_head(head, 0xCF, bits, 8);
    } else if (value >= -32) {
        set_head(head, (int)(bits & 0xFF), 0, 0);
    } else if (value >= INT8_MIN) {
        set_head(head, 0xD0, bits, 1);
    } else if (value >= INT16_MIN) {
        set_head(head, 0xD1, bits, 2);
    } else if (value >= INT32_MIN) {
        set_head(head, 0xD2, bits, 4);
    } else {
        set_head(head, 0xD3, bits, 8);
    }
    return 0;
}

/* Take a text in ASCII; 0 where it is another one, -1 with an error where it is no text. */
static int
ascii_text(PyObject *object, Piece *piece)
{
    if (!is_text_object(object))
        return -1;
    if (!PyUnicode_IS_ASCII(object) || (uint64_t)PyUnicode_GET_LENGTH(object) > UINT32_MAX)
        return 0;
    piece->text = (const char *)PyUnicode_1BYTE_DATA(object);
    piece->size = PyUnicode_GET_LENGTH(object);
    return 1;
}

static Head
text_head(const Piece *text)
{
    Head head;
    uint64_t size = (uint64_t)text->size;
    if (size < 32)
        set_head(&head, 0xA0 | (int)size, 0, 0);
    else if (size <= UINT8_MAX)
        set_head(&head, 0xD9, size, 1);
    else if (size <= UINT16_MAX)
        set_head(&head, 0xDA, size, 2);
    else
        set_head(&head, 0xDB, size, 4);
    return head;
}

static PyObject *
packed_message_frame(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Head seq, at;
    Piece texts[4];
    if (!is_called_with(count, 7, "packed_message_frame") || !is_bytes(given[6]) || pack_number(given[2], &seq) < 0 ||
        pack_number(given[5], &at) < 0)
        return NULL;
    int is_ascii = texts_of_message(given, texts, ascii_text);
    if (is_ascii < 0)
        return NULL;
    if (!is_ascii)
        Py_RETURN_NONE;
    Head channel = text_head(&texts[0]), epoch = text_head(&texts[1]);
    Head sender = text_head(&texts[2]), key = text_head(&texts[3]);
    Piece pieces[] = {
        WORDS("\x88\xA4type\xA7message\xA7" "channel"),
        packed(&channel),
        texts[0],
        WORDS("\xA5" "epoch"),
        packed(&epoch),
        texts[1],
        WORDS("\xA3seq"),
        packed(&seq),
        WORDS("\xA4" "from"),
        packed(&sender),
        texts[2],
        WORDS("\xA3key"),
        packed(&key),
        texts[3],
        WORDS("\xA2" "at"),
        packed(&at),
        WORDS("\xA4" "data"),
        {PyBytes_AS_STRING(given[6]), PyBytes_GET_SIZE(given[6])},
    };
    return FRAME(WHOLE_BINARY, pieces);
}

static PyObject *
packed_sent_frame(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Head id, seq, at;
    Piece place[2]; /* channel and epoch */
    if (!is_called_with(count, 5, "packed_sent_frame") || pack_number(given[0], &id) < 0 ||
        pack_number(given[3], &seq) < 0 || pack_number(given[4], &at) < 0)
        return NULL;
    int is_ascii = all_texts(given + 1, place, 2, ascii_text);
    if (is_ascii < 0)
        return NULL;
    if (!is_ascii)
        Py_RETURN_NONE;
    Head channel = text_head(&place[0]), epoch = text_head(&place[1]);
    Piece pieces[] = {
        WORDS("\x86\xA4type\xA4sent\xA2id"),
        packed(&id),
        WORDS("\xA7" "channel"),
        packed(&channel),
        place[0],
        WORDS("\xA5" "epoch"),
        packed(&epoch),
        place[1],
        WORDS("\xA3seq"),
        packed(&seq),
        WORDS("\xA2" "at"),
        packed(&at),
    };
    return FRAME(WHOLE_BINARY, pieces);
}

/* Reading. */

/* Copy bytes and turn each by the mask (RFC 6455 section 5.3), eight at a time. */
static void
unmask(char *to, const char *from, Py_ssize_t size, const char *mask)
{
    uint32_t four;
    memcpy(&four, mask, 4);
    uint64_t eight = ((uint64_t)four << 32) | four;
    Py_ssize_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, from + at, 8);
        word ^= eight;
        memcpy(to + at, &word, 8);
    }
    for (; at < size; at++)
        to[at] = (char)(from[at] ^ mask[at & 3]);
}

/* Tell whether these bytes are UTF-8. Never raises. */
static int
is_text(const char *bytes, Py_ssize_t size)
{
    uint64_t high = 0;
    Py_ssize_t at = 0;
    for (; size - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, 8);
        high |= word;
    }
    for (; at < size; at++)
        high |= (unsigned char)bytes[at];
    if (!(high & 0x8080808080808080ULL))
        return 1;
    PyObject *text = PyUnicode_DecodeUTF8(bytes, size, "strict");
    if (text == NULL)
        PyErr_Clear();
    Py_XDECREF(text);
    return text != NULL;
}

static PyObject *
read_whole(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    if (!is_called_with(count, 6, "read_whole") || !is_bytes(given[0]))
        return NULL;
    const char *data = PyBytes_AS_STRING(given[0]);
    Py_ssize_t end = PyBytes_GET_SIZE(given[0]);
    Py_ssize_t at = PyLong_AsSsize_t(given[1]);
    Py_ssize_t most = PyLong_AsSsize_t(given[2]);
    int masked = PyObject_IsTrue(given[3]);
    int compressed = PyObject_IsTrue(given[4]);
    PyObject *events = given[5];
    if (masked < 0 || compressed < 0 || PyErr_Occurred())
        return NULL;
    if (at < 0 || !PyList_Check(events)) {
        PyErr_SetString(PyExc_TypeError, "a place in the bytes and a list are wanted");
        return NULL;
    }
    int flag = masked ? 0x80 : 0;
    int compression = compressed ? RSV1 : 0;
    while (end - at > 3) {
        int first = (unsigned char)data[at];
        int kind = first & ~compression;
        if (kind != WHOLE_TEXT && kind != WHOLE_BINARY)
            break;
        Py_ssize_t size = (unsigned char)data[at + 1] - flag;
        Py_ssize_t start = at + (masked ? 6 : 2);
        if (size == 126) {
            size = (unsigned char)data[at + 2] << 8 | (unsigned char)data[at + 3];
            start += 2;
            if (size < 126)
                break;
        } else if (size > 126) {
            break;
        }
        if (size < 0 || size > most || start > end || size > end - start)
            break;
        PyObject *payload = PyBytes_FromStringAndSize(masked ? NULL : data + start, size);
        if (payload == NULL)
            return NULL;
        char *bytes = PyBytes_AS_STRING(payload);
        if (masked)
            unmask(bytes, data + start, size, data + start - 4);
        if (first == WHOLE_TEXT && !is_text(bytes, size)) {
            Py_DECREF(payload);
            break;
        }
        PyObject *event = PyTuple_New(2);
        if (event == NULL) {
            Py_DECREF(payload);
            return NULL;
        }
        PyTuple_SET_ITEM(event, 0, PyLong_FromLong(first & 0x4F)); /* as small as this they are made already */
        PyTuple_SET_ITEM(event, 1, payload);
        int failed = PyList_Append(events, event);
        Py_DECREF(event);
        if (failed)
            return NULL;
        at = start + size;
    }
    return PyLong_FromSsize_t(at);
}

static PyObject *
is_key(PyObject *self, PyObject *text)
{
    if (!is_text_object(text))
        return NULL;
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (!PyUnicode_IS_ASCII(text) || size < 1 || size > LONGEST_KEY)
        Py_RETURN_FALSE;
    const Py_UCS1 *bytes = PyUnicode_1BYTE_DATA(text);
    for (Py_ssize_t at = 0; at < size; at++)
        if (bytes[at] < '!' || bytes[at] > '~')
            Py_RETURN_FALSE;
    Py_RETURN_TRUE;
}

/* What 0xC0 to 0xDF begin in MessagePack: so many bytes, or a size of `width` bytes and then as many bytes or items. */
typedef enum { OTHER, BYTES, TEXT, ARRAY, MAP } Kind;

static const struct {
    Kind kind;
    unsigned char size, width;
} KINDS[32] = {
    {BYTES, 0, 0}, {OTHER, 0, 0}, {BYTES, 0, 0}, {BYTES, 0, 0}, /* nil, what is never used, false, true */
    {BYTES, 0, 1}, {BYTES, 0, 2}, {BYTES, 0, 4},                /* binary */
    {OTHER, 0, 0}, {OTHER, 0, 0}, {OTHER, 0, 0},                /* extensions */
    {BYTES, 4, 0}, {BYTES, 8, 0},                               /* floats */
    {BYTES, 1, 0}, {BYTES, 2, 0}, {BYTES, 4, 0}, {BYTES, 8, 0}, /* integers from 0 */
    {BYTES, 1, 0}, {BYTES, 2, 0}, {BYTES, 4, 0}, {BYTES, 8, 0}, /* integers */
    {OTHER, 0, 0}, {OTHER, 0, 0}, {OTHER, 0, 0}, {OTHER, 0, 0}, {OTHER, 0, 0}, /* extensions */
    {TEXT, 0, 1},  {TEXT, 0, 2},  {TEXT, 0, 4},
    {ARRAY, 0, 2}, {ARRAY, 0, 4},
    {MAP, 0, 2},   {MAP, 0, 4},
};

/* A map or an array that is being read: how many items are still to come; in a map keys and values count. */
typedef struct {
    uint64_t left;
    int is_map;
} Level;

/* Every turn of the loop takes a byte or more, and nothing is kept but `MAX_DEPTH` levels. */
static int
is_plain_map_of(const char *data, Py_ssize_t end)
{
    Level levels[MAX_DEPTH];
    int depth = 0;
    Py_ssize_t at = 0;
    do {
        if (at >= end)
            return 0;
        unsigned char head = (unsigned char)data[at++];
        Kind kind = BYTES;
        uint64_t size = 0;
        if (head >= 0xC0 && head < 0xE0) {
            kind = KINDS[head - 0xC0].kind;
            size = KINDS[head - 0xC0].size;
            int width = KINDS[head - 0xC0].width;
            if (end - at < width)
                return 0;
            for (; width; width--)
                size = size << 8 | (unsigned char)data[at++];
        } else if (head >= 0xA0 && head < 0xC0) {
            kind = TEXT;
            size = head & 0x1F;
        } else if (head >= 0x80 && head < 0xA0) {
            kind = head < 0x90 ? MAP : ARRAY;
            size = head & 0x0F;
        }
        int is_key = 0;
        if (depth) {
            Level *level = &levels[depth - 1];
            is_key = level->is_map && !(level->left & 1);
            level->left--;
        } else if (kind != MAP) {
            return 0;
        }
        if (kind == ARRAY || kind == MAP) {
            if (is_key || depth == MAX_DEPTH)
                return 0;
            levels[depth++] = (Level){kind == MAP ? 2 * size : size, kind == MAP};
        } else {
            if (kind == OTHER || size > (uint64_t)(end - at) || (kind == TEXT && !is_text(data + at, (Py_ssize_t)size)))
                return 0;
            at += (Py_ssize_t)size;
        }
        while (depth && !levels[depth - 1].left)
            depth--;
    } while (depth);
    return at == end;
}

static PyObject *
is_plain_map(PyObject *self, PyObject *raw)
{
    if (!is_bytes(raw))
        return NULL;
    return PyBool_FromLong(is_plain_map_of(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw)));
}

static PyMethodDef functions[] = {
    {"read_whole", (PyCFunction)(void (*)(void))read_whole, METH_FASTCALL, NULL},
    {"message_frame", (PyCFunction)(void (*)(void))message_frame, METH_FASTCALL, NULL},
    {"sent_frame", (PyCFunction)(void (*)(void))sent_frame, METH_FASTCALL, NULL},
    {"packed_message_frame", (PyCFunction)(void (*)(void))packed_message_frame, METH_FASTCALL, NULL},
    {"packed_sent_frame", (PyCFunction)(void (*)(void))packed_sent_frame, METH_FASTCALL, NULL},
    {"is_key", is_key, METH_O, NULL},
    {"is_plain_map", is_plain_map, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "protocol._hot", "What protocol/plain.py has, compiled.", 0, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__hot(void)
{
    return PyModuleDef_Init(&module);
}
