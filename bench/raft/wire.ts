// The few protobuf messages that the generator sends and reads, as bytes: our bench service and etcd's KV and Maintenance.
// Written by hand for both, so that neither costs the generator more than the other. Must never copy more than it has to.
// Field numbers of etcd: api/etcdserverpb/rpc.proto of etcd (PutRequest, ResponseHeader, StatusResponse).
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

const tag = (field: number, type: WireType): number => (field << 3) | type;

/** What one member says of itself; both systems can say it. */
export interface View {
  /** How the member names itself and its leader; opaque, equal where the same member is meant. */
  readonly self: string;
  /** Undefined: it knows of none. */
  readonly leader: string | undefined;
  readonly term: number;
  readonly appliedIndex: number;
}

export function encodePutRequest(key: Uint8Array, value: Uint8Array): Buffer {
  const writer = new BinaryWriter();
  writer.uint32(tag(1, WireType.LengthDelimited)).bytes(key);
  writer.uint32(tag(2, WireType.LengthDelimited)).bytes(value);
  return asBuffer(writer.finish());
}

/** The revision at which the put was applied. */
export function decodePutResponse(data: Uint8Array): number {
  let revision = 0;
  readFields(data, (field, reader) => {
    if (field !== 1) return false;
    readFields(reader.bytes(), (headerField, header) => {
      if (headerField !== 3) return false;
      revision = Number(header.int64());
      return true;
    });
    return true;
  });
  return revision;
}

export function decodeStatusResponse(data: Uint8Array): View {
  let self = '0';
  let leader = '0';
  let term = 0;
  let appliedIndex = 0;
  readFields(data, (field, reader) => {
    switch (field) {
      case 1:
        readFields(reader.bytes(), (headerField, header) => {
          if (headerField !== 2) return false;
          self = String(header.uint64());
          return true;
        });
        return true;
      case 4:
        leader = String(reader.uint64());
        return true;
      case 5:
        appliedIndex = Number(reader.uint64());
        return true;
      case 6:
        term = Number(reader.uint64());
        return true;
      default:
        return false;
    }
  });
  return { self, leader: leader === '0' ? undefined : leader, term, appliedIndex };
}

/** `message ProposeRequest { bytes value = 1; }` */
export function encodeProposeRequest(value: Uint8Array): Buffer {
  return asBuffer(new BinaryWriter().uint32(tag(1, WireType.LengthDelimited)).bytes(value).finish());
}

export function decodeProposeRequest(data: Uint8Array): Uint8Array {
  let value: Uint8Array = new Uint8Array();
  readFields(data, (field, reader) => {
    if (field !== 1) return false;
    value = reader.bytes();
    return true;
  });
  return value;
}

/** `message ProposeResponse { uint64 index = 1; }` */
export function encodeProposeResponse(index: number): Buffer {
  return asBuffer(new BinaryWriter().uint32(tag(1, WireType.Varint)).uint64(index).finish());
}

export function decodeProposeResponse(data: Uint8Array): number {
  let index = 0;
  readFields(data, (field, reader) => {
    if (field !== 1) return false;
    index = Number(reader.uint64());
    return true;
  });
  return index;
}

/** `message BatchRequest { uint64 first = 1; repeated bytes values = 2; }`: proposals numbered from `first` on. */
export interface BatchRequest {
  readonly first: number;
  readonly values: readonly Uint8Array[];
}

export function encodeBatchRequest({ first, values }: BatchRequest): Buffer {
  const writer = new BinaryWriter().uint32(tag(1, WireType.Varint)).uint64(first);
  for (const value of values) writer.uint32(tag(2, WireType.LengthDelimited)).bytes(value);
  return asBuffer(writer.finish());
}

export function decodeBatchRequest(data: Uint8Array): BatchRequest {
  let first = 0;
  const values: Uint8Array[] = [];
  readFields(data, (field, reader) => {
    if (field === 1) first = Number(reader.uint64());
    else if (field === 2) values.push(reader.bytes());
    else return false;
    return true;
  });
  return { first, values };
}

/** `message BatchResponse { repeated uint64 numbers = 1 [packed]; }`: the proposals that are committed now. */
export function encodeBatchResponse(numbers: readonly number[]): Buffer {
  const writer = new BinaryWriter().uint32(tag(1, WireType.LengthDelimited)).fork();
  for (const number of numbers) writer.uint64(number);
  return asBuffer(writer.join().finish());
}

export function decodeBatchResponse(data: Uint8Array): number[] {
  const numbers: number[] = [];
  readFields(data, (field, reader) => {
    if (field !== 1) return false;
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) numbers.push(Number(reader.uint64()));
    return true;
  });
  return numbers;
}

/** `message ViewResponse { string self = 1; string leader = 2; uint64 term = 3; uint64 applied_index = 4; }` */
export function encodeView(view: View): Buffer {
  const writer = new BinaryWriter();
  writer.uint32(tag(1, WireType.LengthDelimited)).string(view.self);
  writer.uint32(tag(2, WireType.LengthDelimited)).string(view.leader ?? '');
  writer.uint32(tag(3, WireType.Varint)).uint64(view.term);
  writer.uint32(tag(4, WireType.Varint)).uint64(view.appliedIndex);
  return asBuffer(writer.finish());
}

export function decodeView(data: Uint8Array): View {
  let self = '';
  let leader = '';
  let term = 0;
  let appliedIndex = 0;
  readFields(data, (field, reader) => {
    if (field === 1) self = reader.string();
    else if (field === 2) leader = reader.string();
    else if (field === 3) term = Number(reader.uint64());
    else if (field === 4) appliedIndex = Number(reader.uint64());
    else return false;
    return true;
  });
  return { self, leader: leader === '' ? undefined : leader, term, appliedIndex };
}

/** `take` reads the field's value and returns true, or returns false and has it passed over. */
function readFields(data: Uint8Array, take: (field: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(data);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (!take(field, reader)) reader.skip(type);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
