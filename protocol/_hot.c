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

/* Writing text. */

typedef struct {
    char digits[LONGEST_NUMBER];
    int start;
} Number;

/* Write an integer's digits; fail with Python's own error where it is none of 64 bits. */
static int
number_of(PyObject *object, Number *number)
{
    long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred())
        return -1;
    unsigned long long rest = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
    int at = LONGEST_NUMBER;
    do {
        number->digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
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

/* Take a text that JSON writes as it is; 0 where it is another one, -1 with an error where it is no text. */
static int
plain_text(PyObject *object, Piece *piece)
{
    if (!PyUnicode_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "a text is wanted");
        return -1;
    }
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

/* Make one whole unmasked text frame of the pieces, one after the other. */
static PyObject *
text_frame(const Piece *pieces, int count)
{
    Py_ssize_t size = 0;
    for (int index = 0; index < count; index++)
        size += pieces[index].size;
    unsigned char head[LONGEST_HEAD] = {WHOLE_TEXT};
    int head_size = 2;
    if (size < 126) {
        head[1] = (unsigned char)size;
    } else {
        int wide = size < 65536 ? 2 : 8;
        head[1] = wide == 2 ? 126 : 127;
        head_size += wide;
        for (int index = 0; index < wide; index++)
            head[2 + index] = (unsigned char)((unsigned long long)size >> (8 * (wide - 1 - index)));
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, head_size + size);
    if (frame == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(frame);
    memcpy(to, head, (size_t)head_size);
    to += head_size;
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

static PyObject *
message_frame(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Number seq, at;
    Piece sender, key;
    if (!is_called_with(count, 6, "message_frame") || !is_bytes(given[0]) || !is_bytes(given[5]) ||
        number_of(given[1], &seq) < 0 || number_of(given[4], &at) < 0)
        return NULL;
    int sender_is_plain = plain_text(given[2], &sender);
    int key_is_plain = sender_is_plain < 0 ? -1 : plain_text(given[3], &key);
    if (key_is_plain < 0)
        return NULL;
    if (!sender_is_plain || !key_is_plain)
        Py_RETURN_NONE;
    Piece pieces[] = {
        {PyBytes_AS_STRING(given[0]), PyBytes_GET_SIZE(given[0])},
        digits(&seq),
        WORDS(",\"from\":\""),
        sender,
        WORDS("\",\"key\":\""),
        key,
        WORDS("\",\"at\":"),
        digits(&at),
        WORDS(",\"data\":"),
        {PyBytes_AS_STRING(given[5]), PyBytes_GET_SIZE(given[5])},
        WORDS("}"),
    };
    return text_frame(pieces, (int)(sizeof(pieces) / sizeof(*pieces)));
}

static PyObject *
sent_frame(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Number id, seq, at;
    Piece channel, epoch;
    if (!is_called_with(count, 5, "sent_frame") || number_of(given[0], &id) < 0 || number_of(given[3], &seq) < 0 ||
        number_of(given[4], &at) < 0)
        return NULL;
    int channel_is_plain = plain_text(given[1], &channel);
    int epoch_is_plain = channel_is_plain < 0 ? -1 : plain_text(given[2], &epoch);
    if (epoch_is_plain < 0)
        return NULL;
    if (!channel_is_plain || !epoch_is_plain)
        Py_RETURN_NONE;
    Piece pieces[] = {
        WORDS("{\"type\":\"sent\",\"id\":"),
        digits(&id),
        WORDS(",\"channel\":\""),
        channel,
        WORDS("\",\"epoch\":\""),
        epoch,
        WORDS("\",\"seq\":"),
        digits(&seq),
        WORDS(",\"at\":"),
        digits(&at),
        WORDS("}"),
    };
    return text_frame(pieces, (int)(sizeof(pieces) / sizeof(*pieces)));
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
    if (!PyUnicode_Check(text)) {
        PyErr_SetString(PyExc_TypeError, "a text is wanted");
        return NULL;
    }
    Py_ssize_t size = PyUnicode_GET_LENGTH(text);
    if (!PyUnicode_IS_ASCII(text) || size < 1 || size > LONGEST_KEY)
        Py_RETURN_FALSE;
    const Py_UCS1 *bytes = PyUnicode_1BYTE_DATA(text);
    for (Py_ssize_t at = 0; at < size; at++)
        if (bytes[at] < '!' || bytes[at] > '~')
            Py_RETURN_FALSE;
    Py_RETURN_TRUE;
}

static PyMethodDef functions[] = {
    {"read_whole", (PyCFunction)(void (*)(void))read_whole, METH_FASTCALL, NULL},
    {"message_frame", (PyCFunction)(void (*)(void))message_frame, METH_FASTCALL, NULL},
    {"sent_frame", (PyCFunction)(void (*)(void))sent_frame, METH_FASTCALL, NULL},
    {"is_key", is_key, METH_O, NULL},
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
